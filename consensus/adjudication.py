"""Deciding what is disputed: who may, what is recorded, and how a decision is taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError, InputError, RefusedError, UnknownNameError
from annotation.lookup import find_annotator, unknown
from annotation.signing.key_files import UnlockedKey
from annotation.signing.keys import require_key, signer_of
from annotation.signing.signatures import DECIDE, TAKE_BACK, sign
from annotation.store import now
from annotation.study import protocol_of
from annotation.tables import Annotator, ProtocolVersion
from consensus.queue.decisions import CLASS, REOPEN, answers_in_force
from consensus.runs import find_run
from consensus.signed_content import decision_sha256
from consensus.tables import ConsensusItem, ConsensusRun, Decision, Dispute

__all__ = ["decide", "decide_together", "find_dispute", "open_disputes_of_region", "reopen"]


def find_dispute(session: Session, number: int) -> Dispute:
    """The dispute with this number."""
    found = session.get(Dispute, number)
    if found is None:
        raise UnknownNameError(
            f"no dispute {number}; see `pathquorum adjudicate list`", kind="dispute", name=number
        )
    return found


def open_disputes_of_region(session: Session, number: int) -> list[int]:
    """The disputes of a region that still wait for an answer, in rising order.

    Parameters
    ----------
    number
        Of the region: the lowest one among its disputes.

    Raises
    ------
    ConflictError
        All of them are decided.
    """
    dispute = find_dispute(session, number)
    members = [number]
    if dispute.region is not None:
        side_by_side = select(Dispute.id).where(
            Dispute.run_id == dispute.run_id, Dispute.region == dispute.region
        )
        members = sorted(session.scalars(side_by_side))
    if members[0] != number:
        raise UnknownNameError(
            f"no region {number}; dispute {number} lies in region {members[0]}",
            kind="region",
            name=number,
        )
    answers = answers_in_force(session, find_run(session, dispute.run_id))
    still_open = [member for member in members if member not in answers]
    if not still_open:
        raise ConflictError(
            f"region {number} has no open dispute; open one again with "
            f"`pathquorum adjudicate reopen {number}`",
            region=number,
        )
    return still_open


def decide(
    session: Session,
    number: int,
    *,
    by: str,
    reason: str,
    answer: str,
    path_class: str | None = None,
    key: UnlockedKey | None = None,
) -> Decision:
    """Answer one dispute, see :func:`decide_together`."""
    (decision,) = decide_together(
        session, [number], by=by, reason=reason, answer=answer, path_class=path_class, key=key
    )
    return decision


def decide_together(
    session: Session,
    numbers: Sequence[int],
    *,
    by: str,
    reason: str,
    answer: str,
    path_class: str | None = None,
    drawn: Mapping[int, Sequence[str]] | None = None,
    key: UnlockedKey | None = None,
) -> list[Decision]:
    """Give several disputes one answer: all of them or none.

    Each gets a decision and an event of its own, so that each is inherited, and can be opened
    again, by itself.

    Parameters
    ----------
    answer
        ``class`` (then ``path_class`` says which), ``indeterminate`` or ``exclude``.
    drawn
        What the adjudicator drew to answer a dispute, WKTs in level-0 pixels: it stays in the
        trail, the decision holds for the dispute as a whole.
    key
        The adjudicator's, to sign each decision with; None leaves them on record unsigned.

    Raises
    ------
    RefusedError
        The adjudicator has no role that the protocol lets decide, or is a rater in a dispute; or
        the protocol requires signatures and there is no key.
    SignatureError
        The key is not the adjudicator's, or was revoked.
    ConflictError
        One is decided already.
    """
    if not reason.strip():
        raise InputError(f"dispute {numbers[0]}: a decision needs a reason; give one with --reason")
    adjudicator = find_annotator(session, by)
    signer = signer_of(session, key, adjudicator)
    _check_disputes(session, numbers, adjudicator, key)
    if answer == CLASS:
        for run in _runs_of(session, numbers):
            _check_class(run, path_class)
    decisions = [
        Decision(
            dispute_id=number,
            at=now(),
            by_id=adjudicator.id,
            answer=answer,
            path_class=path_class,
            reason=reason.strip(),
        )
        for number in numbers
    ]
    session.add_all(decisions)
    session.flush()
    for decision in decisions:
        outlines = list((drawn or {}).get(decision.dispute_id, ()))
        record(
            session,
            actor=adjudicator,
            action="dispute decided",
            subject=f"dispute:{decision.dispute_id}",
            old={"state": "open"},
            new={
                "decision": decision.id,
                "answer": answer,
                "class": path_class,
                "signed": key is not None,
                **({"drawn": outlines} if outlines else {}),
            },
            reason=decision.reason,
        )
    digests = {f"decision:{d.id}": decision_sha256(session, d) for d in decisions}
    sign(session, signer, meaning=DECIDE, digests=digests)
    return decisions


def reopen(
    session: Session,
    number: int,
    *,
    by: str | None = None,
    reason: str | None = None,
    key: UnlockedKey | None = None,
) -> Decision:
    """Take a decision back; the dispute is open again, and what was decided stays on record.

    Parameters
    ----------
    by, key
        Who does, and their key to sign it with; with a key alone its owner.

    Raises
    ------
    ConflictError
        The dispute is open already.
    RefusedError
        The protocol requires signatures and there is no key.
    SignatureError
        The key is somebody else's, or was revoked.
    """
    dispute = find_dispute(session, number)
    run = find_run(session, dispute.run_id)
    in_force = answers_in_force(session, run).get(number)
    if in_force is None:
        raise ConflictError(f"dispute {number} is open already; decide it", dispute=number)
    actor = find_annotator(session, by) if by is not None else None
    signer = signer_of(session, key, actor)
    actor = actor if signer is None else signer.annotator
    row = session.get_one(ProtocolVersion, run.protocol_id)
    require_key(row, protocol_of(row), key, "reopening")
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
        new={"state": "open", "signed": key is not None},
        reason=decision.reason,
    )
    digests = {f"decision:{decision.id}": decision_sha256(session, decision)}
    sign(session, signer, meaning=TAKE_BACK, digests=digests)
    return decision


def _runs_of(session: Session, numbers: Sequence[int]) -> list[ConsensusRun]:
    """The runs that disputes belong to, each once."""
    runs = {find_dispute(session, number).run_id for number in numbers}
    return [find_run(session, run) for run in sorted(runs)]


def _check_disputes(
    session: Session, numbers: Sequence[int], adjudicator: Annotator, key: UnlockedKey | None
) -> None:
    """Refuse what is decided already, and what this person may not decide, or not without a key."""
    answers = {run.id: answers_in_force(session, run) for run in _runs_of(session, numbers)}
    rows = {
        run: session.get_one(ProtocolVersion, find_run(session, run).protocol_id) for run in answers
    }
    for row in rows.values():
        require_key(row, protocol_of(row), key, "decision")
    for number in numbers:
        dispute = find_dispute(session, number)
        _check_adjudicator(session, dispute, rows[dispute.run_id], adjudicator)
        _check_open(number, answers[dispute.run_id].get(number))


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


def _check_open(number: int, in_force: Decision | None) -> None:
    if in_force is not None:
        raise ConflictError(
            f"dispute {number} is decided already ({in_force.path_class or in_force.answer}); "
            f"open it again with `pathquorum adjudicate reopen {number}`",
            dispute=number,
        )


def _check_class(run: ConsensusRun, path_class: str | None) -> None:
    if path_class not in run.classes:
        raise unknown(
            "class", str(path_class), run.classes, f"choose one of {', '.join(run.classes)}"
        )
