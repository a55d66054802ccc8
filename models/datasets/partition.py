"""Which items are trained on and which are held out; no patient ever stands on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError, RefusedError
from models.errors import TrainingError
from models.targets import NO_SITE, OPEN, Targets

__all__ = ["Partition", "leave_site_out", "parts_of", "require_apart", "require_two_classes"]

HELD_OUT = "test"

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """Indices of the items of each part, and what a reader of the figures has to know."""

    parts: dict[str, Indices]
    notes: tuple[str, ...] = ()

    def __getitem__(self, part: str) -> Indices:
        try:
            return self.parts[part]
        except KeyError:
            raise InputError(
                f"there is no part {part!r} to take; there are {', '.join(sorted(self.parts))}"
            ) from None


def parts_of(targets: Targets, fingerprints: Sequence[str | None] = ()) -> Partition:
    """The parts of the release's split.

    Parameters
    ----------
    fingerprints
        See `require_apart`.
    """
    parts = {str(name): targets.indices_of(str(name)) for name in np.unique(targets.part)}
    require_apart(targets, parts, fingerprints)
    return Partition(parts)


def require_apart(
    targets: Targets, parts: Mapping[str, Indices], fingerprints: Sequence[str | None] = ()
) -> None:
    """Refuse parts that share a patient, or a slide under two names.

    Holds for indices of one's own as well as for the release's.

    Parameters
    ----------
    fingerprints : length n
        Of the slide of each item, or None where it has none; empty looks at patients alone.

    Raises
    ------
    RefusedError
        With the patient or slide, and the two parts.
    """
    part_of_group: dict[int, str] = {}
    part_of_slide: dict[str, str] = {}
    for part, indices in parts.items():
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(targets):
            raise InputError(
                f"part {part!r} names an item outside 0 to {len(targets) - 1}; there are "
                f"{len(targets)}"
            )
        for group in np.unique(targets.group[indices]).tolist():
            other = part_of_group.setdefault(group, part)
            if other != part:
                raise RefusedError(
                    f"patient {targets.group_name(group)!r} stands in {other} and in {part}; a "
                    "model would be tested on whom it has seen: put each patient into one part",
                    patient=targets.group_name(group),
                    parts=(other, part),
                )
        for index in indices.tolist() if fingerprints else ():
            fingerprint = fingerprints[index]
            other = part if fingerprint is None else part_of_slide.setdefault(fingerprint, part)
            if other != part:
                raise RefusedError(
                    f"the slide of item {targets.name_of(index)} stands in {other} and in {part}, "
                    "under two names; give it one patient",
                    parts=(other, part),
                )


def require_two_classes(targets: Targets, indices: Indices, part: str) -> None:
    """Refuse to train on items of one class only, or of none.

    Raises
    ------
    TrainingError
        With the class.
    """
    counted = indices[targets.weight[indices] > 0]
    hard = targets.hard[counted]
    found = np.unique(hard[hard != OPEN]).tolist()
    if len(found) < 2:
        only = f"only the class {targets.classes[found[0]]!r}" if found else "no class at all"
        raise TrainingError(
            f"the {len(indices)} items of {part} bear {only}, and there is nothing to learn from "
            "that; train on a release with more slides",
            part=part,
        )


def leave_site_out(
    targets: Targets, site: str, fingerprints: Sequence[str | None] = ()
) -> Partition:
    """Hold one site out entirely: its items are the test set, and the other sites' keep their parts.

    Of the other sites' the test set takes no part. Neither do, anywhere, their items of patients who
    were also seen at the site, nor items without a site, which may be of it; notes say how many.

    Raises
    ------
    InputError
        There is no such site, or nothing is left to train on.
    """
    if site not in targets.sites:
        known = ", ".join(repr(name) for name in targets.sites) or "none"
        raise InputError(f"there is no site {site!r} to leave out; the sites are {known}")
    held = targets.site == targets.sites.index(site)
    shared = np.isin(targets.group, np.unique(targets.group[held])) & ~held
    unknown = (targets.site == NO_SITE) & ~shared
    unused = (targets.part == HELD_OUT) & ~(held | shared | unknown)
    rest = ~(held | shared | unknown | unused)
    parts = {HELD_OUT: np.flatnonzero(held)}
    for part in np.unique(targets.part[rest]).tolist():
        parts[str(part)] = np.flatnonzero(rest & (targets.part == part))
    if not held.any() or len(parts) < 2:
        what = "holds no item" if not held.any() else "leaves nothing to train on"
        raise InputError(f"leaving out site {site!r} {what}; choose another site", site=site)
    require_apart(targets, parts, fingerprints)
    notes = [
        f"{number} items {reason} take no part"
        for number, reason in (
            (int(shared.sum()), f"of patients who were also seen at {site}"),
            (int(unknown.sum()), "of no known site"),
            (int(unused.sum()), f"of the other sites' part {HELD_OUT}"),
        )
        if number
    ]
    return Partition(parts, tuple(notes))
