"""What the report says of reads that were planned: handed out, read, withdrawn, still to come."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.tables import Annotator, Assignment, PullRead
from consensus.tables import ConsensusRun

__all__ = ["PlannedRow", "planned_reads"]


@dataclass(frozen=True)
class PlannedRow:
    """One person's assignments under the protocol of a run."""

    handle: str
    planned: int
    read: int
    withdrawn: int
    missing: int


def planned_reads(session: Session, run: ConsensusRun, as_of_pull: int | None) -> list[PlannedRow]:
    """The assignments under a run's protocol by person; a read counts once it was pulled by then."""
    read_by_then = select(PullRead.read_id)
    if as_of_pull is not None:
        read_by_then = read_by_then.where(PullRead.pull_id <= as_of_pull)
    pulled = set(session.scalars(read_by_then))
    rows = session.execute(
        select(Annotator.handle, Assignment)
        .join(Assignment, Assignment.annotator_id == Annotator.id)
        .where(Assignment.protocol_id == run.protocol_id)
        .order_by(Annotator.handle)
    ).all()
    by_handle: dict[str, list[Assignment]] = {}
    for handle, assignment in rows:
        by_handle.setdefault(handle, []).append(assignment)
    return [_row(handle, assignments, pulled) for handle, assignments in by_handle.items()]


def _row(handle: str, assignments: list[Assignment], pulled: set[int]) -> PlannedRow:
    read = sum(one.read_id in pulled for one in assignments)
    withdrawn = sum(
        one.withdrawn_at is not None and one.read_id not in pulled for one in assignments
    )
    planned = len(assignments) - withdrawn
    return PlannedRow(handle, planned, read, withdrawn, planned - read)
