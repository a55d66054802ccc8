"""Which part of the split each patient belongs to: training, validation, calibration, test.

A subject is a patient, or a slide that belongs to no patient; all slides of a subject go to one
part. A part that a subject has from an earlier release stays; only new subjects are assigned, so
that the whole comes as near to the wanted shares as it can.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from annotation.errors import InputError

__all__ = ["DEFAULT_SHARES", "Split", "Subject", "allot", "assign_parts", "parse_shares"]

DEFAULT_SHARES: Mapping[str, float] = {
    "train": 0.6,
    "val": 0.15,
    "calibration": 0.1,
    "test": 0.15,
}

SUM_TOLERANCE = 1e-6
_EXAMPLE = "write train=0.6,val=0.2,test=0.2"


@dataclass(frozen=True, slots=True)
class Subject:
    """Whoever must not stand in two parts; ``key`` is unique in the study."""

    key: str
    site: str | None = None


@dataclass(frozen=True)
class Split:
    """The part of every subject, by key, and what a reader of the figures has to know."""

    parts: dict[str, str]
    notes: list[str]


def parse_shares(text: str) -> dict[str, float]:
    """Read ``train=0.6,val=0.2,test=0.2``.

    Raises
    ------
    InputError
        A part without a name or a share, a name that stands twice, or shares that don't add up
        to 1.
    """
    shares: dict[str, float] = {}
    for entry in text.split(","):
        name, equals, number = (piece.strip() for piece in entry.partition("="))
        share = _share(number)
        if not name or not equals or share is None:
            raise InputError(
                f"{entry.strip()!r} in the split {text!r} is no NAME=SHARE with a share above 0 and "
                f"up to 1; {_EXAMPLE}"
            )
        if name in shares:
            raise InputError(f"part {name!r} stands twice in the split {text!r}; {_EXAMPLE}")
        shares[name] = share
    total = math.fsum(shares.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise InputError(
            f"the shares of the split {text!r} add up to {total:.6g}, not 1; {_EXAMPLE}"
        )
    return shares


def _share(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 < share <= 1 else None  # NaN is neither


def allot(total: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers that add up to ``total``, in proportion to ``weights``.

    By largest remainder: each is its exact quota rounded down or up. Of equal remainders the
    earlier one is rounded up.
    """
    whole = math.fsum(weights)
    if whole <= 0:
        return [0] * len(weights)
    # 0.29 * 100 is 28.999999999999996; digits beyond the ninth are noise.
    quotas = [round(total * weight / whole, 9) for weight in weights]
    counts = [math.floor(quota) for quota in quotas]
    by_remainder = sorted(range(len(weights)), key=lambda i: (round(counts[i] - quotas[i], 9), i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def assign_parts(
    subjects: Sequence[Subject],
    shares: Mapping[str, float],
    seed: int,
    inherited: Mapping[str, str],
) -> Split:
    """Give every subject a part.

    Parameters
    ----------
    shares
        Share of the subjects by part. Of equal remainders the larger share is rounded up, and of
        equal shares the one that comes first in the alphabet.
    seed
        Decides who goes where; not how many.
    inherited
        Parts from earlier releases by subject key; they stay.

    Returns
    -------
    The same split for the same subjects, whatever their order.
    """
    shares = dict(sorted(shares.items(), key=lambda entry: (-entry[1], entry[0])))
    parts = {s.key: inherited[s.key] for s in subjects if s.key in inherited}
    new = [s for s in subjects if s.key not in parts]
    present = Counter(parts.values())
    counts = _new_counts(len(new), present, shares)
    parts |= _deal(new, counts, seed)
    present.update(counts)
    return Split(parts, _notes(present, shares))


def _new_counts(n_new: int, present: Counter[str], shares: Mapping[str, float]) -> dict[str, int]:
    """How many new subjects each part gets: what it lacks of its share of all."""
    total = n_new + present.total()
    lacking = [max(0.0, share * total - present[part]) for part, share in shares.items()]
    counts = dict(zip(shares, allot(n_new, lacking), strict=True))
    for part in shares:
        if present[part] + counts[part] == 0:
            donors = [p for p in shares if counts[p] and present[p] + counts[p] > 1]
            if donors:
                donor = max(donors, key=lambda p: present[p] + counts[p])
                counts[donor] -= 1
                counts[part] += 1
    return counts


def _deal(new: Sequence[Subject], counts: Mapping[str, int], seed: int) -> dict[str, str]:
    """Assign subjects site by site, each site in proportion to what is still to be had."""
    by_site: dict[str | None, list[Subject]] = defaultdict(list)
    for subject in new:
        by_site[subject.site].append(subject)
    left = dict(counts)
    dealt: dict[str, str] = {}
    for _, of_site in sorted(by_site.items(), key=_large_first):
        quota = allot(len(of_site), list(left.values()))
        order = iter(sorted(of_site, key=lambda s: _draw(seed, s.key)))
        for part, count in zip(list(left), quota, strict=True):
            left[part] -= count
            dealt |= {next(order).key: part for _ in range(count)}
    return dealt


def _large_first(site: tuple[str | None, list[Subject]]) -> tuple[int, bool, str]:
    name, subjects = site
    return -len(subjects), name is not None, name or ""


def _draw(seed: int, key: str) -> bytes:
    """A place in the order that depends on seed and subject alone, with every version of Python."""
    return hashlib.sha256(f"{seed}\0{key}".encode()).digest()


def _notes(present: Counter[str], shares: Mapping[str, float]) -> list[str]:
    notes = []
    empty = [part for part in shares if not present[part]]
    if empty:
        notes.append(
            f"{', '.join(empty)} {'is' if len(empty) == 1 else 'are'} empty: there are "
            f"{present.total()} patients for {len(shares)} parts, and a patient's part is never "
            "changed"
        )
    other = sorted(part for part in present if part not in shares)
    if other:
        notes.append(
            f"some patients stay in {', '.join(other)}, which an earlier release gave them and "
            "this split does not name"
        )
    return notes
