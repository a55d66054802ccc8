"""Who is to read which slide: what is handed out, read, still open or withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.errors import ConflictError, InputError, RefusedError
from annotation.store import now
from annotation.tables import (
    Annotator,
    Assignment,
    HandedProject,
    ProtocolVersion,
    PullRead,
    Read,
    Slide,
)

__all__ = [
    "Washout",
    "assignment_counts",
    "list_assignments",
    "open_assignments",
    "refuse_assigned",
    "slides_read",
    "washout_end",
]


@dataclass(frozen=True)
class Washout:
    """How long a reader must not have seen a slide before reading it again.

    ``force`` is the reason for handing it out earlier all the same.
    """

    days: int
    force: str | None = None


def refuse_assigned(
    session: Session, annotator: Annotator, slide: Slide, protocol: ProtocolVersion, replicate: int
) -> None:
    """Refuse to hand out what was handed out, or read, already.

    Raises
    ------
    ConflictError
        The message names the project, or the read.
    """
    standing = session.execute(
        select(Assignment, HandedProject.folder)
        .join(HandedProject, Assignment.project_id == HandedProject.id)
        .where(
            Assignment.annotator_id == annotator.id,
            Assignment.slide_id == slide.id,
            Assignment.protocol_id == protocol.id,
            Assignment.replicate == replicate,
            Assignment.withdrawn_at.is_(None),
        )
    ).first()
    which = "" if replicate == 1 else f" for replicate {replicate}"
    if standing is not None:
        raise ConflictError(
            f"slide {slide.name!r} is assigned to {annotator.handle!r} already{which}, in project "
            f"folder {standing[1]!r}; leave it out, or hand it out again with --replicate "
            f"{replicate + 1}",
            slide=slide.name,
            annotator=annotator.handle,
        )
    read = session.scalars(
        select(Read).where(
            Read.annotator_id == annotator.id,
            Read.slide_id == slide.id,
            Read.protocol_id == protocol.id,
            Read.replicate == replicate,
        )
    ).first()
    if read is not None:
        raise ConflictError(
            f"{annotator.handle!r} has read slide {slide.name!r} already{which} (read {read.id}); "
            f"leave it out, or hand it out again with --replicate {replicate + 1}",
            slide=slide.name,
            annotator=annotator.handle,
        )


def washout_end(
    session: Session,
    annotator: Annotator,
    slide: Slide,
    protocol: ProtocolVersion,
    replicate: int,
    washout: Washout | None,
) -> date | None:
    """The day from which a slide may be read again; None for a first reading.

    Raises
    ------
    InputError
        A replicate without a washout, or a washout without one.
    RefusedError
        The earlier reading is missing, or that day has not come and nobody says why it is not
        waited for.
    """
    if replicate < 1:
        raise InputError(f"--replicate counts from 1, not {replicate}")
    if replicate == 1:
        if washout is not None:
            raise InputError("--washout is for reading again; give --replicate 2 or more with it")
        return None
    if washout is None or washout.days < 0:
        raise InputError(
            f"replicate {replicate} needs a washout; give --washout DAYS since the earlier reading "
            "(0 for none)"
        )
    earlier = session.execute(
        select(Read.replicate, func.max(PullRead.read_date))
        .join(PullRead, PullRead.read_id == Read.id)
        .where(
            Read.annotator_id == annotator.id,
            Read.slide_id == slide.id,
            Read.protocol_id == protocol.id,
            Read.replicate < replicate,
        )
        .group_by(Read.replicate)
    ).all()
    if {number for number, _ in earlier} != set(range(1, replicate)):
        raise RefusedError(
            f"{annotator.handle!r} has not read slide {slide.name!r} {replicate - 1} "
            f"time{'s' if replicate > 2 else ''} yet; pull that first",
            slide=slide.name,
            annotator=annotator.handle,
        )
    last = max(day for _, day in earlier)
    end = last + timedelta(days=washout.days)
    if now().date() < end and not washout.force:
        raise RefusedError(
            f"slide {slide.name!r} was read by {annotator.handle!r} on {last}, so {washout.days} "
            f"days of washout end on {end}; hand it out then, or give a reason with --force",
            slide=slide.name,
            annotator=annotator.handle,
            not_before=end,
        )
    return end


def slides_read(
    session: Session, annotator: Annotator, protocol: ProtocolVersion, replicate: int
) -> Sequence[Slide]:
    """The slides of which an annotator's reading of this number was pulled."""
    return session.scalars(
        select(Slide)
        .join(Read, Read.slide_id == Slide.id)
        .where(
            Read.annotator_id == annotator.id,
            Read.protocol_id == protocol.id,
            Read.replicate == replicate,
        )
        .order_by(Slide.name)
    ).all()


def open_assignments(
    session: Session,
    annotator: Annotator,
    protocol: ProtocolVersion,
    *,
    replicate: int | None = None,
) -> list[tuple[Assignment, Slide, HandedProject]]:
    """What an annotator has in hand, read or not, in the order of slide and replicate."""
    wanted = (
        select(Assignment, Slide, HandedProject)
        .join(Slide, Assignment.slide_id == Slide.id)
        .join(HandedProject, Assignment.project_id == HandedProject.id)
        .where(
            Assignment.annotator_id == annotator.id,
            Assignment.protocol_id == protocol.id,
            Assignment.withdrawn_at.is_(None),
        )
        .order_by(Slide.name, Assignment.replicate)
    )
    if replicate is not None:
        wanted = wanted.where(Assignment.replicate == replicate)
    return [(assignment, slide, project) for assignment, slide, project in session.execute(wanted)]


def list_assignments(
    session: Session, *, annotator: Annotator | None = None, protocol: ProtocolVersion | None = None
) -> list[dict[str, Any]]:
    """Every assignment there ever was, for whoever runs the study: masked names stand in it."""
    wanted = (
        select(Assignment, Slide.name, Annotator.handle, ProtocolVersion, HandedProject.folder)
        .join(Slide, Assignment.slide_id == Slide.id)
        .join(Annotator, Assignment.annotator_id == Annotator.id)
        .join(ProtocolVersion, Assignment.protocol_id == ProtocolVersion.id)
        .join(HandedProject, Assignment.project_id == HandedProject.id)
        .order_by(Annotator.handle, Assignment.assigned_at, Assignment.position)
    )
    if annotator is not None:
        wanted = wanted.where(Assignment.annotator_id == annotator.id)
    if protocol is not None:
        wanted = wanted.where(Assignment.protocol_id == protocol.id)
    return [
        {
            "assignment": row.id,
            "annotator": handle,
            "slide": slide,
            "protocol": f"{version.name}@{version.version}",
            "replicate": row.replicate,
            "shown_as": row.shown_name,
            "masked": row.masked,
            "folder": folder,
            "position": row.position,
            "not_before": row.not_before,
            "assigned_at": row.assigned_at,
            "withdrawn_at": row.withdrawn_at,
            "read": row.read_id,
            "state": _state(row),
        }
        for row, slide, handle, version, folder in session.execute(wanted)
    ]


def assignment_counts(session: Session, protocol_id: int) -> list[dict[str, Any]]:
    """By annotator: slides assigned, of these pulled and open, and those withdrawn."""
    rows = session.execute(
        select(Annotator.handle, Assignment)
        .join(Annotator, Assignment.annotator_id == Annotator.id)
        .where(Assignment.protocol_id == protocol_id)
        .order_by(Annotator.handle)
    )
    counts: dict[str, dict[str, Any]] = {}
    for handle, row in rows:
        entry = counts.setdefault(
            handle, {"annotator": handle, "assigned": 0, "pulled": 0, "open": 0, "withdrawn": 0}
        )
        state = _state(row)
        entry[state] += 1
        if state != "withdrawn":
            entry["assigned"] += 1
    return list(counts.values())


def _state(row: Assignment) -> str:
    if row.withdrawn_at is not None:
        return "withdrawn"
    return "open" if row.read_id is None else "pulled"
