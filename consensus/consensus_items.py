"""A run as it stands with its decisions: every item, and each disputed place by itself.

What a decision has put a class to counts like what was agreed. What is open, indeterminate or has
too few raters keeps its place and bears no class, so that nothing of the rated area is lost.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.study import protocol_of
from annotation.tables import Annotator, ProtocolVersion, Slide
from annotation.units import um2_per_px2
from consensus.item_states import AGREED, BELOW_AREA, DISPUTED
from consensus.queue.decisions import CLASS, EXCLUDE, answers_in_force
from consensus.regions import connected_components
from consensus.runs import last_pull_before
from consensus.study.counted_reads import counted_reads
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute

__all__ = ["ADJUDICATED", "EXCLUDED", "INDETERMINATE", "Answer", "Consensus", "ResolvedItem"]

ADJUDICATED = "adjudicated"
EXCLUDED = "excluded"
INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was decided of a place, by whom and why."""

    decision: int
    answer: str
    path_class: str | None
    by: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class ResolvedItem:
    """An item of a run, or a place in it that was disputed by itself.

    Attributes
    ----------
    item, name
        The run's name of the item, and a name of its own.
    weight
        um2 for regions, else 1.
    pattern
        What each rater said.
    state
        ``agreed`` or ``adjudicated`` where there is a label; else why there is none:
        ``indeterminate``, ``excluded``, ``disputed``, ``too few raters`` or ``below the dispute's
        area``.
    posterior : length n_classes
        In the order of the run's classes; 1 for a class that was decided.
    geometry
        Level-0 pixels; None for a slide.
    answer
        The decision in force.
    """

    item: str
    name: str
    weight: float
    pattern: dict[str, str]
    state: str
    label: str | None
    posterior: tuple[float, ...]
    geometry: shapely.Geometry | None
    answer: Answer | None = None


class Consensus:
    """A run and its decisions, read slide by slide.

    Parameters
    ----------
    up_to_decision
        The last decision that counts; None takes all there are.
    """

    def __init__(
        self, session: Session, run: ConsensusRun, *, up_to_decision: int | None = None
    ) -> None:
        self._session = session
        self.run = run
        self.classes: tuple[str, ...] = tuple(run.classes)
        self.protocol_row = session.get_one(ProtocolVersion, run.protocol_id)
        self.protocol = protocol_of(self.protocol_row)
        self.last_decision, self._answers = self._decisions(up_to_decision)
        self.slides = self._slides()

    def _decisions(self, up_to: int | None) -> tuple[int, dict[int, Answer]]:
        """The last decision taken, and the answer in force for each decided dispute."""
        handles = {row.id: row.handle for row in self._session.scalars(select(Annotator))}
        taken = (
            select(func.max(Decision.id))
            .join(Dispute, Decision.dispute_id == Dispute.id)
            .where(Dispute.run_id == self.run.id)
        )
        if up_to is not None:
            taken = taken.where(Decision.id <= up_to)
        answers = {
            dispute: Answer(
                row.id,
                row.answer,
                row.path_class,
                None if row.by_id is None else handles[row.by_id],
                row.reason,
            )
            for dispute, row in answers_in_force(self._session, self.run, up_to=up_to).items()
        }
        return self._session.scalar(taken) or 0, answers

    def color_of(self, label: str) -> list[int] | None:
        """The protocol's colour of a class, as QuPath's GeoJSON holds it."""
        colors = {c.name: c.rgb for c in self.protocol.classes}
        rgb = colors.get(label)
        return None if rgb is None else list(rgb)

    def _slides(self) -> list[Slide]:
        """The slides that were read, by name: one on which nobody found an object counts too."""
        reads, _ = counted_reads(
            self._session, self.protocol_row, last_pull_before(self._session, self.run)
        )
        with_items = select(ConsensusItem.slide_id).where(ConsensusItem.run_id == self.run.id)
        slides = {read.slide.id: read.slide for read in reads}
        found = self._session.scalars(select(Slide).where(Slide.id.in_(with_items.distinct())))
        slides.update({slide.id: slide for slide in found})
        return sorted(slides.values(), key=lambda slide: slide.name)

    def items(self, slide: Slide) -> list[ResolvedItem]:
        """What holds on one slide, in the order of the run's items."""
        queued: dict[int, list[Dispute]] = defaultdict(list)
        for dispute in self._session.scalars(
            select(Dispute)
            .where(Dispute.run_id == self.run.id, Dispute.slide_id == slide.id)
            .order_by(Dispute.id)
        ):
            queued[dispute.item_id].append(dispute)
        rows = self._session.scalars(
            select(ConsensusItem)
            .where(ConsensusItem.run_id == self.run.id, ConsensusItem.slide_id == slide.id)
            .order_by(ConsensusItem.id)
        )
        um2 = um2_per_px2(slide.mpp)
        return [
            resolved for row in rows for resolved in self._resolve(row, queued.get(row.id, ()), um2)
        ]

    def _resolve(
        self, row: ConsensusItem, disputes: Sequence[Dispute], um2: float
    ) -> Iterator[ResolvedItem]:
        geometry = None if row.geometry is None else shapely.from_wkb(row.geometry)
        if not disputes:
            yield ResolvedItem(
                item=row.name,
                name=row.name,
                weight=row.weight,
                pattern=row.pattern,
                state=row.state,
                label=row.label if row.state == AGREED else None,
                posterior=tuple(row.posterior),
                geometry=geometry,
            )
            return
        places = [None if d.geometry is None else shapely.from_wkb(d.geometry) for d in disputes]
        for number, (dispute, place) in enumerate(zip(disputes, places, strict=True), start=1):
            name = row.name if len(disputes) == 1 else f"{row.name}.{number}"
            yield self._disputed(row, name, dispute, place)
        if self.protocol.task != "regions" or geometry is None:
            return
        rest = _rest(geometry, [place for place in places if place is not None])
        if rest is not None:
            yield ResolvedItem(
                item=row.name,
                name=f"{row.name}.rest",
                weight=float(rest.area * um2),
                pattern=row.pattern,
                state=BELOW_AREA,
                label=None,
                posterior=tuple(row.posterior),
                geometry=rest,
            )

    def _disputed(
        self, row: ConsensusItem, name: str, dispute: Dispute, place: shapely.Geometry | None
    ) -> ResolvedItem:
        answer = self._answers.get(dispute.id)
        state, label, posterior = DISPUTED, None, tuple(row.posterior)
        if answer is not None and answer.answer == CLASS:
            state, label = ADJUDICATED, answer.path_class
            posterior = tuple(float(name == label) for name in self.classes)
        elif answer is not None:
            state = EXCLUDED if answer.answer == EXCLUDE else INDETERMINATE
        return ResolvedItem(
            item=row.name,
            name=name,
            weight=dispute.weight,
            pattern=row.pattern,
            state=state,
            label=label,
            posterior=posterior,
            geometry=place,
            answer=answer,
        )


def _rest(
    geometry: shapely.Geometry, disputed: Sequence[shapely.Geometry]
) -> shapely.Geometry | None:
    """What of a disputed region nobody was asked about: its specks and strips."""
    parts = np.array(connected_components(geometry), dtype=object)
    asked = np.isin(shapely.to_wkb(parts), shapely.to_wkb(np.array(disputed, dtype=object)))
    if asked.sum() == len(disputed):
        rest = parts[~asked]
    else:  # the components were told apart in another way when the run was made
        cut = shapely.difference(geometry, shapely.disjoint_subset_union_all(disputed))
        rest = shapely.get_parts(cut)
        rest = rest[shapely.area(rest) > 0]
    if len(rest) == 0:
        return None
    return rest[0] if len(rest) == 1 else shapely.multipolygons(rest)
