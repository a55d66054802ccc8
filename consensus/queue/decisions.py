"""What was decided: the answer in force for each dispute, and what a later run inherits of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from sqlalchemy import ColumnElement, Select, exists, func, select
from sqlalchemy.orm import Session

from annotation.tables import ProtocolVersion
from consensus.regions import same_region
from consensus.run_kinds import of_raters, of_triage
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute

__all__ = [
    "CLASS",
    "EXCLUDE",
    "INDETERMINATE",
    "REOPEN",
    "Inherited",
    "InheritedDecisions",
    "answers_in_force",
    "is_decided",
    "open_disputes",
]

CLASS = "class"
INDETERMINATE = "indeterminate"
EXCLUDE = "exclude"
REOPEN = "reopen"


def answers_in_force(
    session: Session,
    run: ConsensusRun,
    *,
    up_to: int | None = None,
    disputes: Sequence[int] | None = None,
) -> dict[int, Decision]:
    """The last decision of each decided dispute of a run, by dispute; open ones are absent.

    Parameters
    ----------
    up_to
        The last decision that counts; None takes all there are.
    disputes
        The only ones that are asked for; None asks for all of the run.
    """
    last = _last_decisions(run)
    if up_to is not None:
        last = last.where(Decision.id <= up_to)
    if disputes is not None:
        last = last.where(Decision.dispute_id.in_(disputes))
    rows = session.scalars(select(Decision).where(Decision.id.in_(last)))
    return {row.dispute_id: row for row in rows if row.answer != REOPEN}


def open_disputes(session: Session, run: ConsensusRun) -> int:
    """How many disputes of a run wait for an answer."""
    decided = select(func.count()).where(
        Decision.id.in_(_last_decisions(run)), Decision.answer != REOPEN
    )
    disputes = select(func.count()).where(Dispute.run_id == run.id)
    return (session.scalar(disputes) or 0) - (session.scalar(decided) or 0)


def is_decided() -> ColumnElement[bool]:
    """Whether a row of disputes has an answer in force, in a query over them."""
    last = (
        select(func.max(Decision.id))
        .where(Decision.dispute_id == Dispute.id)
        .correlate(Dispute)
        .scalar_subquery()
    )
    return exists().where(Decision.id == last, Decision.answer != REOPEN)


def _last_decisions(run: ConsensusRun) -> Select[Any]:
    """The last decision on each dispute of a run that has any."""
    return (
        select(func.max(Decision.id))
        .join(Dispute, Decision.dispute_id == Dispute.id)
        .where(Dispute.run_id == run.id)
        .group_by(Decision.dispute_id)
    )


@dataclass(frozen=True)
class Inherited:
    """What an earlier decision means for a new dispute."""

    decision: Decision | None
    reopened_because: str | None


@dataclass(frozen=True)
class _Earlier:
    decision: Decision
    pattern: dict[str, str]
    geometry: shapely.Geometry | None


class _OnSlide:
    """What was decided on one slide, the last word first, found by place."""

    def __init__(self, decided: list[_Earlier]) -> None:
        self._decided = decided
        self._tree = shapely.STRtree([earlier.geometry for earlier in decided])
        self._placeless = [earlier for earlier in decided if earlier.geometry is None]

    def near(self, geometry: shapely.Geometry | None) -> list[_Earlier]:
        """Those that can be the same place or overlap it."""
        if geometry is None:
            return self._placeless
        return [self._decided[index] for index in np.sort(self._tree.query(geometry))]


class InheritedDecisions:
    """The decisions of a protocol's earlier runs, the last word on each region first.

    Parameters
    ----------
    triage
        Those of triages, for a triage; else those of runs that fuse ratings. What was decided with
        a prediction in sight is a rating to a run of raters, and no decision.
    """

    def __init__(
        self, session: Session, protocol: ProtocolVersion, *, triage: bool = False
    ) -> None:
        rows = session.execute(
            select(Decision, Dispute, ConsensusItem.pattern)
            .join(Dispute, Decision.dispute_id == Dispute.id)
            .join(ConsensusItem, Dispute.item_id == ConsensusItem.id)
            .join(ConsensusRun, Dispute.run_id == ConsensusRun.id)
            .where(ConsensusRun.protocol_id == protocol.id, of_triage() if triage else of_raters())
            .order_by(Decision.id.desc())
        )
        by_slide: dict[int, list[_Earlier]] = defaultdict(list)
        answered: set[int] = set()
        for decision, dispute, pattern in rows:
            if dispute.id in answered:
                continue
            answered.add(dispute.id)
            geometry = None if dispute.geometry is None else shapely.from_wkb(dispute.geometry)
            by_slide[dispute.slide_id].append(_Earlier(decision, pattern, geometry))
        self._by_slide = {slide: _OnSlide(decided) for slide, decided in by_slide.items()}

    def answer(
        self, slide_id: int, pattern: dict[str, str], geometry: shapely.Geometry | None
    ) -> Inherited:
        """The decision that still holds for a dispute, or why one no longer does."""
        on_slide = self._by_slide.get(slide_id)
        near = [] if on_slide is None else on_slide.near(geometry)
        for earlier in near:
            if earlier.pattern == pattern and _same_place(earlier.geometry, geometry):
                if earlier.decision.answer == REOPEN:
                    return Inherited(
                        None,
                        f"reopened after decision {earlier.decision.id}: {earlier.decision.reason}",
                    )
                return Inherited(earlier.decision, None)
        for earlier in near:
            if earlier.decision.answer != REOPEN and (
                _overlap(earlier.geometry, geometry) or _same_place(earlier.geometry, geometry)
            ):
                return Inherited(None, _difference(earlier, pattern))
        return Inherited(None, None)


def _same_place(one: shapely.Geometry | None, other: shapely.Geometry | None) -> bool:
    if one is None or other is None:
        return one is None and other is None
    if one.area == 0 or other.area == 0:
        return bool(shapely.equals(one, other))
    return same_region(one, other)


def _overlap(one: shapely.Geometry | None, other: shapely.Geometry | None) -> bool:
    if one is None or other is None:
        return False
    return bool(shapely.relate_pattern(one, other, "T********"))


def _difference(earlier: _Earlier, pattern: dict[str, str]) -> str:
    """In one sentence, what differs from what was decided."""
    number = earlier.decision.id
    new = sorted(pattern.keys() - earlier.pattern.keys())
    gone = sorted(earlier.pattern.keys() - pattern.keys())
    changed = [
        r for r in pattern.keys() & earlier.pattern.keys() if pattern[r] != earlier.pattern[r]
    ]
    parts = []
    if new:
        parts.append(f"{_raters(new)} more")
    if gone:
        parts.append(f"{_raters(gone)} fewer")
    if changed:
        parts.append(f"another answer of {_raters(changed)}")
    what = "labels changed: " + ", ".join(parts) if parts else "region changed"
    return f"{what} since decision {number}"


def _raters(names: Sequence[str]) -> str:
    return f"{len(names)} rater{'' if len(names) == 1 else 's'}"
