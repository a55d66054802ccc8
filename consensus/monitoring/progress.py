"""Who has read what was planned for them, and what is overdue."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from statistics import median
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.distribution.plan_file import PlanFile
from annotation.lookup import find_annotator
from annotation.tables import Annotator, Assignment, ProtocolVersion, PullRead, Read, Slide

__all__ = ["progress"]

Key = tuple[str, int]
"""A slide and which reading of it."""


@dataclass
class _Reader:
    """What one annotator has read, was handed, and is to read by a plan."""

    read: dict[Key, date] = field(default_factory=dict)
    excluded: int = 0
    handed: dict[Key, date] = field(default_factory=dict)  # the first day on which it may be read
    planned: set[Key] = field(default_factory=set)

    def to_dict(self, annotator: str, today: date, overdue_days: int) -> dict[str, Any]:
        wanted = self.planned | self.handed.keys()
        unread = {key: day for key, day in self.handed.items() if key not in self.read}
        due = [day + timedelta(days=overdue_days) for day in unread.values()]
        took = [
            (day - self.handed[key]).days for key, day in self.read.items() if key in self.handed
        ]
        return {
            "annotator": annotator,
            "planned": len(wanted),
            "done": len(self.read),
            "done_of_planned": len(wanted & self.read.keys()),
            "open": len(wanted - self.read.keys()),
            "not_handed_out": len(wanted - self.handed.keys() - self.read.keys()),
            "in_washout": sum(day > today for day in unread.values()),
            "overdue": sum(day < today for day in due),
            "next_due": min(due, default=None),
            "excluded": self.excluded,
            "last_read": max(self.read.values(), default=None),
            "median_days_to_read": median(took) if took else None,
        }


def progress(
    session: Session,
    row: ProtocolVersion,
    reads: list[tuple[Read, Slide, str, PullRead]],
    *,
    today: date,
    overdue_days: int,
    plan: PlanFile | None = None,
) -> list[dict[str, Any]]:
    """Of each annotator the reads planned, done, open and overdue under a protocol version.

    Parameters
    ----------
    reads
        What was read, as :func:`consensus.study.counted_reads.pulled_reads` gives it.
    overdue_days
        So many days after a slide was handed out, or its washout ended, its read is overdue.
    plan
        What is planned beyond what was handed out.

    Raises
    ------
    UnknownNameError
        The plan names somebody who is no annotator of the study.
    """
    readers: dict[str, _Reader] = defaultdict(_Reader)
    for read, slide, handle, pulled in reads:
        readers[handle].read[slide.name, read.replicate] = pulled.read_date
        readers[handle].excluded += pulled.excluded is not None
    handed = session.execute(
        select(Assignment, Slide.name, Annotator.handle)
        .join(Slide, Assignment.slide_id == Slide.id)
        .join(Annotator, Assignment.annotator_id == Annotator.id)
        .where(Assignment.protocol_id == row.id, Assignment.withdrawn_at.is_(None))
    )
    for assignment, name, handle in handed:
        day = assignment.assigned_at.date()
        readers[handle].handed[name, assignment.replicate] = max(day, assignment.not_before or day)
    if plan is not None and plan.protocol == f"{row.name}@{row.version}":
        for handle in sorted({wanted.annotator for wanted in plan.reads}):
            find_annotator(session, handle)  # what is no handle must not pass for one
        for wanted in plan.reads:
            readers[wanted.annotator].planned.add((wanted.slide, wanted.replicate))
    return [readers[handle].to_dict(handle, today, overdue_days) for handle in sorted(readers)]
