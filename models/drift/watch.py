"""All indicators of drift, tested together, as one document.

Two families of tests permute different patients: those whose slides the model predicted, and those
whose slides were read. Within each the largest distance decides; between them p-values are
multiplied by the number of families (Bonferroni), so that the chance of any false alarm stays alpha.

Shapes: P patients, B groupings, J indicators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from annotation.store import SOFTWARE_VERSION
from annotation.terminal import counted
from models.drift.distances import category_distance, rank_distance
from models.drift.embeddings import MOST_PATIENTS, Embeddings, embeddings_of, tiles_of_each
from models.drift.files import read_files
from models.drift.measures import GROUPS, Categories, Group, Numbers, measures_of
from models.drift.people import adjudicated_places, people_of
from models.drift.permutation import (
    MIN_PATIENTS,
    check_permutations,
    distinct_groupings,
    permutation_test,
    regrouped,
)
from models.drift.readers import Readers, readers_of
from models.drift.selection import Asked, Comparison, select_slides
from models.drift.stability import (
    MAJOR,
    Stability,
    stability_of_categories,
    stability_of_numbers,
)

__all__ = ["Drift", "Indicator", "compare_kappas", "compare_measures", "decide", "watch"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(eq=False)
class Indicator:
    """One thing that is watched, while it is tested.

    Attributes
    ----------
    has : shape (P,)
        Who has a value.
    distances : shape (B,)
        Of every grouping; None where it can't be tested, and ``status`` says why.
    values : shape (P,)
        Of numbers, for the picture.
    """

    key: str
    title: str
    group: Group
    kind: str
    facts: dict[str, Any]
    status: str = "ok"
    distances: Floats | None = None
    values: Floats | None = None
    current: Bools | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    alarm: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The entry in the document."""
        statistic = None if self.distances is None else float(self.distances[0])
        return {
            "key": self.key,
            "title": self.title,
            "group": self.group,
            "kind": self.kind,
            **self.facts,
            "statistic": statistic,
            "p_value": self.p_value,
            "p_adjusted": self.p_adjusted,
            "alarm": self.alarm,
            "status": self.status,
        }


@dataclass(frozen=True)
class Drift:
    """The document, and the indicators behind it for the pictures."""

    document: dict[str, Any]
    indicators: list[Indicator]
    readers: Readers
    comparison: Comparison = field(repr=False)


def watch(session: Session, asked: Asked) -> Drift:
    """Hold the current slides of a prediction run against the reference.

    Raises
    ------
    InputError, RefusedError, UnknownNameError, TileError
        As the parts say: nothing can be compared, or a file is not the one on record.
    """
    check_permutations(asked.permutations, asked.alpha)
    comparison = select_slides(session, asked)
    patient, current = comparison.patient, comparison.is_current
    most_tiles = tiles_of_each(len(current))
    files = read_files(comparison.slides, adjudicated_places(session, comparison), most_tiles)
    measures = measures_of(comparison.slides, people_of(session, comparison, files.overturned))
    embeddings = embeddings_of(files, patient, len(current), asked.seed)
    indicators = compare_measures(measures, embeddings, patient, current, asked)
    since = asked.since or comparison.releases[0].at.date() + timedelta(days=1)
    readers = readers_of(session, comparison.protocol, since)
    kappas = compare_kappas(readers, asked)
    decide([indicators, kappas], asked.alpha)
    order = list(GROUPS)
    found = sorted([*indicators, *kappas], key=lambda one: order.index(one.group))
    return Drift(_document(asked, comparison, readers, found), found, readers, comparison)


def compare_measures(
    measures: Sequence[Numbers | Categories],
    embeddings: Embeddings | None,
    patient: NDArray[np.int64],
    current: Bools,
    asked: Asked,
) -> list[Indicator]:
    """The indicators of slides, with their distances under every grouping.

    Parameters
    ----------
    patient : shape (n_slides,)
        The number of each slide's patient.
    current : shape (P,)
        Who is not of the reference.
    """
    groupings = regrouped(current, asked.permutations, asked.seed)
    found = []
    for one in measures:
        values = one.of_patients(patient, len(current))
        if isinstance(one, Numbers):
            found.append(_number(one, values, current, groupings, asked.alpha))
        else:
            found.append(_category(one, values, current, groupings, asked.alpha))
    return [*found, *_embedded(embeddings, current, groupings, asked.alpha)]


def _number(
    one: Numbers, values: Floats, current: Bools, groupings: Floats, alpha: float
) -> Indicator:
    has = ~np.isnan(values)
    reference, now = values[has & ~current], values[has & current]
    facts = {
        "patients": {"reference": len(reference), "current": len(now)},
        "reference": _summary(reference),
        "current": _summary(now),
        "superiority": _superiority(reference, now),
        "psi": _plain(stability_of_numbers(reference, now)),
    }
    kind = "rate" if one.rate else "number"
    made = Indicator(one.key, one.title, one.group, kind, facts, values=values, current=current)
    made.status = _status(has, current, alpha, one.reason)
    if made.status == "ok":
        made.distances = rank_distance(values)(groupings)
    return made


def _category(
    one: Categories, shares: Floats, current: Bools, groupings: Floats, alpha: float
) -> Indicator:
    has = np.asarray(np.isfinite(shares).any(axis=1))
    counts = [shares[has & side].sum(axis=0) for side in (~current, current)]
    facts = {
        "patients": {
            "reference": int((has & ~current).sum()),
            "current": int((has & current).sum()),
        },
        "reference": _shares(one.names, counts[0]),
        "current": _shares(one.names, counts[1]),
        "new": [
            name
            for name, before, now in zip(one.names, *counts, strict=True)
            if not before and now and counts[0].sum()
        ],
        "psi": _plain(stability_of_categories(counts[0], counts[1])),
    }
    made = Indicator(one.key, one.title, one.group, "category", facts)
    made.status = _status(has, current, alpha, None)
    if made.status == "ok":
        made.distances = category_distance(shares)(groupings)
    return made


def _embedded(
    embeddings: Embeddings | None, current: Bools, groupings: Floats, alpha: float
) -> list[Indicator]:
    titles = {
        "feature_means": "Features of slides",
        "feature_tiles": "Features of tiles",
    }
    has = np.zeros(len(current), dtype=bool) if embeddings is None else embeddings.has
    reason = "the model sees pixels and keeps no features" if embeddings is None else None
    status = _status(has, current, alpha, reason)
    patients = {"reference": int((has & ~current).sum()), "current": int((has & current).sum())}
    found = []
    for key, title in titles.items():
        made = Indicator(
            key, title, "input", "embedding", {"patients": patients, "psi": None}, status
        )
        found.append(made)
    if embeddings is not None and status == "ok":
        of_components = embeddings.stabilities(current)
        largest = max(of_components, key=lambda one: one.psi, default=None)
        found[0].facts["psi"] = _plain(largest)
        found[0].facts["components"] = [one.to_dict() for one in of_components]
        for made, distance in zip(found, embeddings.distances().values(), strict=True):
            made.distances = distance(groupings)
    return found


def compare_kappas(readers: Readers, asked: Asked) -> list[Indicator]:
    """The indicators of readers; their patients are others than those of the slides."""
    if readers.kappas is None:
        return []
    current = readers.current[readers.used]
    whole = np.zeros((asked.permutations + 1, len(readers.used)))
    whole[:, readers.used] = regrouped(current, asked.permutations, asked.seed)
    # Who is on neither side is in neither group.
    before = np.where(readers.used, 1 - whole, 0.0)
    of_before, of_now = readers.kappas.of_patients(before), readers.kappas.of_patients(whole)
    held = readers.kappas.held_by()
    found = []
    for number, (key, title) in enumerate(
        zip(readers.kappas.keys, readers.kappas.titles, strict=True)
    ):
        has = held[:, number] & readers.used
        apart = of_now[:, number] - of_before[:, number]
        facts = {
            "patients": {
                "reference": int((has & ~readers.current).sum()),
                "current": int((has & readers.current).sum()),
            },
            "reference": _finite(of_before[0, number]),
            "current": _finite(of_now[0, number]),
            "psi": None,
        }
        made = Indicator(key, title, "readers", "kappa", facts)
        made.status = _status(has, readers.current, asked.alpha, None)
        if made.status == "ok" and np.isnan(apart[0]):
            made.status = "undefined: single class"
        if made.status == "ok":
            made.distances = np.abs(apart)
        found.append(made)
    return found


def decide(families: Sequence[Sequence[Indicator]], alpha: float) -> None:
    """Test each family by permutation, and alarm where p, adjusted over all of them, is small."""
    tested = [[one for one in family if one.distances is not None] for family in families]
    tested = [family for family in tested if family]
    for family in tested:
        distances = [one.distances for one in family if one.distances is not None]
        result = permutation_test(np.column_stack(distances))
        for number, one in enumerate(family):
            one.p_value = float(result.p_value[number])
            one.p_adjusted = min(1.0, float(result.p_adjusted[number]) * len(tested))
            one.alarm = one.p_adjusted <= alpha


def _status(has: Bools, current: Bools, alpha: float, reason: str | None) -> str:
    """Whether an indicator can be tested on the patients that have it, or why not."""
    if reason is not None:
        return f"undefined: {reason}"
    if not has.any():
        return "undefined: nothing on record"
    n_reference, n_current = int((has & ~current).sum()), int((has & current).sum())
    for number, where in ((n_reference, "in the reference"), (n_current, "now")):
        if number < MIN_PATIENTS:
            return f"undefined: {counted(number, 'patient')} {where}"
    groupings = distinct_groupings(n_reference, n_current)
    if groupings * alpha < 1:
        return f"undefined: {groupings} groupings of so few patients can't show p <= {alpha:g}"
    return "ok"


def _summary(values: Floats) -> dict[str, float] | None:
    if not len(values):
        return None
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {"mean": float(values.mean()), "median": middle, "low": low, "high": high}


def _superiority(reference: Floats, now: Floats) -> float | None:
    """The chance that a current patient's value is above one of the reference, ties counting half."""
    if not len(reference) or not len(now):
        return None
    ordered = np.sort(reference)
    below = np.searchsorted(ordered, now, side="left")
    with_ties = np.searchsorted(ordered, now, side="right")
    return float((below + with_ties).mean() / (2 * len(reference)))


def _shares(names: Sequence[str], counts: Floats) -> dict[str, float]:
    total = counts.sum()
    return dict(zip(names, (counts / total if total else counts).tolist(), strict=True))


def _plain(one: Stability | None) -> dict[str, Any] | None:
    return None if one is None else one.to_dict()


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _document(
    asked: Asked, comparison: Comparison, readers: Readers, found: Sequence[Indicator]
) -> dict[str, Any]:
    sides = {
        name: [one for one in comparison.slides if one.current is current]
        for name, current in (("reference", False), ("current", True))
    }
    alarms = [one.key for one in found if one.alarm]
    tested = sum(one.distances is not None for one in found)
    return {
        "predictions": comparison.current.name,
        "reference": comparison.reference.name,
        "model": comparison.model.name,
        "weights_sha256": [str(one["weights_sha256"]) for one in comparison.current.members],
        "release": comparison.releases[0].name,
        "since": asked.since,
        "until": asked.until,
        "slides": {name: len(side) for name, side in sides.items()},
        "patients": {name: len({one.subject for one in side}) for name, side in sides.items()},
        "permutations": asked.permutations,
        "alpha": asked.alpha,
        "seed": asked.seed,
        "rule": (
            "patients change groups at random; an indicator alarms where its p-value, adjusted over "
            f"all {tested} that could be tested, is at most {asked.alpha:g}"
        ),
        "tested": tested,
        "status": "ok" if tested else _nothing_tested(found),
        "alarm": bool(alarms),
        "alarms": alarms,
        "indicators": [one.to_dict() for one in found],
        "readers": {"since": readers.since, "by_month": readers.by_month},
        "notes": [*comparison.notes, *readers.notes, *_notes(comparison, found)],
        "software_version": SOFTWARE_VERSION,
    }


def _nothing_tested(found: Sequence[Indicator]) -> str:
    """What most of the indicators lack."""
    told = [one.status for one in found if one.group in ("input", "output")]
    return max(sorted(set(told)), key=told.count)


def _notes(comparison: Comparison, found: Sequence[Indicator]) -> list[str]:
    """Rules of thumb, and what else a reader of the table has to know."""
    notes = [
        f"{one.title}: {', '.join(one.facts['new'])} not in the reference"
        for one in found
        if one.facts.get("new")
    ]
    major = [
        (one.title, one.facts["psi"])
        for one in found
        if one.facts["psi"] is not None and one.facts["psi"]["psi"] > MAJOR
    ]
    beyond = [
        f"{title} {psi['psi']:.2f}" for title, psi in major if psi["psi"] > psi["by_chance_95"]
    ]
    if beyond:
        notes.append(
            f"stability index above {MAJOR:g}, which a rule of thumb calls a major shift, and above "
            f"what chance makes of it in 19 of 20 cases: {', '.join(beyond)}"
        )
    if len(major) > len(beyond):
        notes.append(
            f"the stability index of {len(major) - len(beyond)} other indicators is above {MAJOR:g} "
            "too, as chance makes it with so few patients"
        )
    n_patients = len(comparison.subjects)
    if n_patients > MOST_PATIENTS:
        notes.append(
            f"features are compared on {MOST_PATIENTS:,} of {n_patients:,} patients, drawn at random"
        )
    return notes
