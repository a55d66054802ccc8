"""The queue as an adjudicator sees it: what is disputed under masked names, and in what order."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any, Literal

import msgspec
import numpy as np
import shapely
from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from annotation.tables import Annotator, Slide
from consensus.queue.decisions import answers_in_force, is_decided
from consensus.queue.queue_order import Order, drawn_place, expected_gain, label_entropy
from consensus.run_kinds import is_triage
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute

__all__ = ["Place", "QueueEntry", "State", "entries_of", "masked_raters", "places", "queue"]

State = Literal["open", "decided"]


@dataclass(frozen=True)
class QueueEntry:
    """One dispute as an adjudicator sees it.

    ``region`` is the lowest number among the disputes that it forms one place with. Of a triage,
    ``predicted`` holds the model's probabilities: whoever decides has seen them.
    """

    dispute: int
    region: int
    run: int
    slide: str
    weight: float
    weight_unit: str
    severity: float
    entropy: float
    labels: dict[str, str]
    state: str
    answer: str | None
    path_class: str | None
    decided_by: str | None
    reason: str | None
    reopened_because: str | None
    geometry: shapely.Geometry | None
    predicted: dict[str, float] | None = None

    @property
    def ai_assisted(self) -> bool:
        """Whether it is decided with a prediction in sight."""
        return self.predicted is not None

    @property
    def said(self) -> str:
        """What the raters said, under their masks, or the model."""
        if self.predicted is not None:
            label = max(self.predicted, key=self.predicted.__getitem__)
            return f"model: {label} {self.predicted[label]:.2f}"
        return ", ".join(f"{rater}: {label}" for rater, label in self.labels.items())

    @property
    def gain(self) -> float:
        """Expected change of the consensus by an answer, in the unit of the weight."""
        return expected_gain(self.entropy, self.weight, self.severity)

    def to_dict(self) -> dict[str, Any]:
        """The dispute's entry in a document."""
        bounds = None if self.geometry is None else [round(v, 2) for v in self.geometry.bounds]
        return {
            "dispute": self.dispute,
            "region": self.region,
            "run": self.run,
            "slide": self.slide,
            "area_um2": self.weight if self.weight_unit == "um2" else None,
            "severity": self.severity,
            "entropy": self.entropy,
            "gain": self.gain,
            "labels": self.labels,
            "ai_assisted": self.ai_assisted,
            "predicted": self.predicted,
            "state": self.state,
            "answer": self.answer,
            "class": self.path_class,
            "by": self.decided_by,
            "reason": self.reason,
            "reopened_because": self.reopened_because,
            "bounds_px": bounds,
        }

    def with_geometry(self) -> dict[str, Any]:
        """As :meth:`to_dict`, and where it lies, as GeoJSON."""
        place = (
            None
            if self.geometry is None
            else msgspec.Raw(shapely.to_geojson(self.geometry).encode())
        )
        return {**self.to_dict(), "geometry": place}


@dataclass(frozen=True)
class Place:
    """Disputes that lie side by side, the first in the queue first."""

    entries: tuple[QueueEntry, ...]

    @property
    def region(self) -> int:
        """Its number: that of its first dispute."""
        return self.entries[0].region

    @property
    def weight(self) -> float:
        """Weight of its disputes together."""
        return sum(entry.weight for entry in self.entries)

    @property
    def gain(self) -> float:
        """Gain of its disputes together."""
        return sum(entry.gain for entry in self.entries)

    @property
    def severity(self) -> float:
        """Severity of its disputes, the mean by weight."""
        return sum(e.severity * e.weight for e in self.entries) / self.weight if self.weight else 0

    @property
    def dispute(self) -> int:
        """What decides between equals, as among disputes: the lowest number."""
        return min(entry.dispute for entry in self.entries)

    def to_dict(self) -> dict[str, Any]:
        """The region's entry in a document."""
        shapes = [entry.geometry for entry in self.entries if entry.geometry is not None]
        bounds = [round(float(v), 2) for v in shapely.total_bounds(shapes)] if shapes else None
        areal = self.entries[0].weight_unit == "um2"
        return {
            "region": self.region,
            "slide": self.entries[0].slide,
            "disputes": [entry.dispute for entry in self.entries],
            "open": sum(entry.state == "open" for entry in self.entries),
            "area_um2": self.weight if areal else None,
            "severity": self.severity,
            "gain": self.gain,
            "bounds_px": bounds,
        }


def queue(
    session: Session,
    run: ConsensusRun,
    *,
    order: Order = "entropy",
    seed: int = 0,
    state: State | None = None,
    limit: int | None = None,
) -> list[QueueEntry]:
    """The disputes of a run, those first that an answer is expected to gain most from.

    Parameters
    ----------
    order
        ``entropy``: by gain. ``disagreement``: by severity, the larger of equal ones first.
        ``area``: by weight. ``random``: as the seed draws them.
    state
        The only ones that are asked for; None asks for both.
    limit
        So many, the first in that order; None takes all.
    """
    numbers = None
    if limit is not None:
        numbers = _first_numbers(session, run, order, seed, state, limit)
    entries = entries_of(session, run, numbers)
    wanted = [entry for entry in entries if state in (None, entry.state)]
    return sorted(wanted, key=_sorting(order, seed))[:limit]


def entries_of(
    session: Session, run: ConsensusRun, numbers: Sequence[int] | None
) -> list[QueueEntry]:
    """These disputes of a run, or all of them, by rising number."""
    rows_of = (
        select(Dispute, ConsensusItem.pattern, ConsensusItem.posterior, Slide.name)
        .join(ConsensusItem, Dispute.item_id == ConsensusItem.id)
        .join(Slide, Dispute.slide_id == Slide.id)
        .where(Dispute.run_id == run.id)
        .order_by(Dispute.id)
    )
    first_of = (
        select(Dispute.region, func.min(Dispute.id))
        .where(Dispute.run_id == run.id)
        .group_by(Dispute.region)
    )
    if numbers is not None:
        rows_of = rows_of.where(Dispute.id.in_(numbers))
        regions = select(Dispute.region).where(Dispute.id.in_(numbers))
        first_of = first_of.where(Dispute.region.in_(regions))
    rows = session.execute(rows_of).all()
    first = dict(session.execute(first_of).all())
    answers = answers_in_force(session, run, disputes=numbers)
    handles = dict(session.execute(select(Annotator.id, Annotator.handle)).all())
    entries = []
    for dispute, pattern, posterior, slide in rows:
        # Before the schema held them, a dispute had neither region nor entropy of its own.
        region = dispute.id if dispute.region is None else first[dispute.region]
        entropy = dispute.entropy
        if entropy is None:
            entropy = float(label_entropy(np.array([posterior]))[0])
        answer = answers.get(dispute.id)
        entry = _entry(run, dispute, region, entropy, pattern, slide, answer, handles)
        if is_triage(run):
            entry = replace(entry, predicted=dict(zip(run.classes, posterior, strict=True)))
        entries.append(entry)
    return entries


def _first_numbers(
    session: Session,
    run: ConsensusRun,
    order: Order,
    seed: int,
    state: State | None,
    limit: int,
) -> list[int] | None:
    """The numbers of the first disputes, by the database; None where it can't tell.

    The same products as in :func:`_sorting`, so that equals are equal here too.
    """
    numbers = select(Dispute.id).where(Dispute.run_id == run.id)
    if order == "entropy" and session.scalar(
        select(exists().where(Dispute.run_id == run.id, Dispute.entropy.is_(None)))
    ):
        return None
    if state is not None:
        numbers = numbers.where(is_decided() if state == "decided" else ~is_decided())
    if order == "random":
        drawn = sorted((drawn_place(number, seed), number) for number in session.scalars(numbers))
        return [number for _, number in drawn[:limit]]
    gain = Dispute.entropy * Dispute.weight * Dispute.severity
    by: dict[Order, tuple[ColumnElement[Any], ...]] = {
        "area": (Dispute.weight.desc(),),
        "disagreement": (Dispute.severity.desc(), Dispute.weight.desc()),
        "entropy": (gain.desc(), (Dispute.severity * Dispute.weight).desc()),
    }
    first = numbers.order_by(*by[order], Dispute.id).limit(limit)
    return list(session.scalars(first))


def places(
    entries: Sequence[QueueEntry], *, order: Order = "entropy", seed: int = 0
) -> list[Place]:
    """The regions that disputes form, in the same order by what they hold together."""
    members: dict[int, list[QueueEntry]] = defaultdict(list)
    for entry in entries:
        members[entry.region].append(entry)
    found = [Place(tuple(of_region)) for of_region in members.values()]
    return sorted(found, key=_sorting(order, seed))


def _sorting(order: Order, seed: int) -> Callable[[QueueEntry | Place], tuple[Any, ...]]:
    if order == "random":
        return lambda one: (drawn_place(one.dispute, seed), one.dispute)
    if order == "area":
        return lambda one: (-one.weight, one.dispute)
    if order == "disagreement":
        return lambda one: (-one.severity, -one.weight, one.dispute)
    return lambda one: (-one.gain, -one.severity * one.weight, one.dispute)


def _entry(
    run: ConsensusRun,
    dispute: Dispute,
    region: int,
    entropy: float,
    pattern: dict[str, str],
    slide: str,
    answer: Decision | None,
    handles: dict[int, str],
) -> QueueEntry:
    masks = masked_raters(dispute.id, list(pattern))
    labels = {masks[rater]: name for rater, name in pattern.items()}
    return QueueEntry(
        dispute=dispute.id,
        region=region,
        run=run.id,
        slide=slide,
        weight=dispute.weight,
        weight_unit=run.summary["weight_unit"],
        severity=dispute.severity,
        entropy=entropy,
        labels=dict(sorted(labels.items())),
        state="open" if answer is None else "decided",
        answer=answer.answer if answer else None,
        path_class=answer.path_class if answer else None,
        decided_by=handles.get(answer.by_id) if answer and answer.by_id else None,
        reason=answer.reason if answer else None,
        reopened_because=dispute.reopened_because,
        geometry=None if dispute.geometry is None else shapely.from_wkb(dispute.geometry),
    )


def masked_raters(dispute: int, raters: Sequence[str]) -> dict[str, str]:
    """A masked name for each rater of a dispute.

    The order differs from dispute to dispute, so that a letter tells nothing about a person.
    """
    order = sorted(raters, key=lambda r: hashlib.sha256(f"{dispute}\0{r}".encode()).digest())
    return {rater: f"rater {_letters(index)}" for index, rater in enumerate(order)}


def _letters(index: int) -> str:
    head, last = divmod(index, len(ascii_uppercase))
    return (_letters(head - 1) if head else "") + ascii_uppercase[last]
