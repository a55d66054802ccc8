"""The adjudicator's queue: what is disputed, shown under masked names, and how it was decided."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

import msgspec
import shapely
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError, InputError, RefusedError, UnknownNameError
from annotation.lookup import find_annotator, unknown
from annotation.store import now
from annotation.study import protocol_of
from annotation.tables import Annotator, ProtocolVersion, Slide
from consensus.decisions import CLASS, REOPEN, answers_in_force
from consensus.runs import find_run
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute

__all__ = ["QueueEntry", "decide", "find_dispute", "masked_raters", "queue", "reopen"]


@dataclass(frozen=True)
class QueueEntry:
    """One dispute as an adjudicator sees it."""

    dispute: int
    run: int
    slide: str
    weight: float
    weight_unit: str
    severity: float
    labels: dict[str, str]
    state: str
    answer: str | None
    path_class: str | None
    decided_by: str | None
    reason: str | None
    reopened_because: str | None
    geometry: shapely.Geometry | None

    def to_dict(self) -> dict[str, Any]:
        """The dispute's entry in a document."""
        bounds = None if self.geometry is None else [round(v, 2) for v in self.geometry.bounds]
        return {
            "dispute": self.dispute,
            "run": self.run,
            "slide": self.slide,
            "area_um2": self.weight if self.weight_unit == "um2" else None,
            "severity": self.severity,
            "labels": self.labels,
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


def masked_raters(dispute: int, raters: Sequence[str]) -> dict[str, str]:
    """A masked name for each rater of a dispute.

    The order differs from dispute to dispute, so that a letter tells nothing about a person.
    """
    order = sorted(raters, key=lambda r: hashlib.sha256(f"{dispute}\0{r}".encode()).digest())
    return {rater: f"rater {_letters(index)}" for index, rater in enumerate(order)}


def _letters(index: int) -> str:
    head, last = divmod(index, len(ascii_uppercase))
    return (_letters(head - 1) if head else "") + ascii_uppercase[last]


def queue(session: Session, run: ConsensusRun) -> list[QueueEntry]:
    """The disputes of a run, the most severe and largest first."""
    rows = session.execute(
        select(Dispute, ConsensusItem.pattern, Slide.name)
        .join(ConsensusItem, Dispute.item_id == ConsensusItem.id)
        .join(Slide, Dispute.slide_id == Slide.id)
        .where(Dispute.run_id == run.id)
    ).all()
    answers = answers_in_force(session, run)
    handles = dict(session.execute(select(Annotator.id, Annotator.handle)).all())
    entries = [
        _entry(run, dispute, pattern, slide, answers.get(dispute.id), handles)
        for dispute, pattern, slide in rows
    ]
    return sorted(entries, key=lambda e: (-e.severity * e.weight, e.dispute))


def _entry(
    run: ConsensusRun,
    dispute: Dispute,
    pattern: dict[str, str],
    slide: str,
    answer: Decision | None,
    handles: dict[int, str],
) -> QueueEntry:
    masks = masked_raters(dispute.id, list(pattern))
    labels = {masks[rater]: name for rater, name in pattern.items()}
    return QueueEntry(
        dispute=dispute.id,
        run=run.id,
        slide=slide,
        weight=dispute.weight,
        weight_unit=run.summary["weight_unit"],
        severity=dispute.severity,
        labels=dict(sorted(labels.items())),
        state="open" if answer is None else "decided",
        answer=answer.answer if answer else None,
        path_class=answer.path_class if answer else None,
        decided_by=handles.get(answer.by_id) if answer and answer.by_id else None,
        reason=answer.reason if answer else None,
        reopened_because=dispute.reopened_because,
        geometry=None if dispute.geometry is None else shapely.from_wkb(dispute.geometry),
    )


def find_dispute(session: Session, number: int) -> Dispute:
    """The dispute with this number."""
    found = session.get(Dispute, number)
    if found is None:
        raise UnknownNameError(
            f"no dispute {number}; see `pathquorum adjudicate list`", kind="dispute", name=number
        )
    return found


def decide(
    session: Session,
    number: int,
    *,
    by: str,
    reason: str,
    answer: str,
    path_class: str | None = None,
) -> Decision:
    """Answer a dispute.

    Parameters
    ----------
    answer
        ``class`` (then ``path_class`` says which), ``indeterminate`` or ``exclude``.

    Raises
    ------
    RefusedError
        The adjudicator has no role that the protocol lets decide, or is a rater in the dispute.
    ConflictError
        It is decided already.
    """
    if not reason.strip():
        raise InputError(f"dispute {number}: a decision needs a reason; give one with --reason")
    dispute = find_dispute(session, number)
    run = find_run(session, dispute.run_id)
    row = session.get_one(ProtocolVersion, run.protocol_id)
    adjudicator = find_annotator(session, by)
    _check_adjudicator(session, dispute, row, adjudicator)
    in_force = answers_in_force(session, run).get(number)
    if in_force is not None:
        raise ConflictError(
            f"dispute {number} is decided already ({in_force.path_class or in_force.answer}); "
            f"open it again with `pathquorum adjudicate reopen {number}`",
            dispute=number,
        )
    if answer == CLASS and path_class not in run.classes:
        raise unknown(
            "class", str(path_class), run.classes, f"choose one of {', '.join(run.classes)}"
        )
    decision = Decision(
        dispute_id=number,
        at=now(),
        by_id=adjudicator.id,
        answer=answer,
        path_class=path_class,
        reason=reason.strip(),
    )
    session.add(decision)
    session.flush()
    record(
        session,
        actor=adjudicator,
        action="dispute decided",
        subject=f"dispute:{number}",
        old={"state": "open"},
        new={"decision": decision.id, "answer": answer, "class": path_class, "signed": False},
        reason=reason.strip(),
    )
    return decision


def reopen(
    session: Session, number: int, *, by: str | None = None, reason: str | None = None
) -> Decision:
    """Take a decision back; the dispute is open again, and what was decided stays on record."""
    dispute = find_dispute(session, number)
    in_force = answers_in_force(session, find_run(session, dispute.run_id)).get(number)
    if in_force is None:
        raise ConflictError(f"dispute {number} is open already; decide it", dispute=number)
    actor = find_annotator(session, by) if by is not None else None
    decision = Decision(
        dispute_id=number,
        at=now(),
        by_id=actor.id if actor else None,
        answer=REOPEN,
        path_class=None,
        reason=(reason or "").strip() or "no reason given",
    )
    session.add(decision)
    session.flush()
    record(
        session,
        actor=actor,
        action="dispute reopened",
        subject=f"dispute:{number}",
        old={"decision": in_force.id, "answer": in_force.answer, "class": in_force.path_class},
        new={"state": "open"},
        reason=decision.reason,
    )
    return decision


def _check_adjudicator(
    session: Session, dispute: Dispute, row: ProtocolVersion, adjudicator: Annotator
) -> None:
    roles = protocol_of(row).adjudication.roles
    if adjudicator.role not in roles:
        raise RefusedError(
            f"{adjudicator.handle!r} is {adjudicator.role}, and protocol {row.name!r} lets "
            f"{' or '.join(roles)} decide; ask one of them",
            annotator=adjudicator.handle,
        )
    item = session.get_one(ConsensusItem, dispute.item_id)
    if adjudicator.handle in item.pattern:
        raise RefusedError(
            f"{adjudicator.handle!r} is one of the raters in dispute {dispute.id}; "
            "somebody else must decide it",
            annotator=adjudicator.handle,
        )
