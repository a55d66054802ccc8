"""People: handles, roles, and what entitles someone on a given day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import inspect, select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError, InputError, RefusedError
from annotation.lookup import find_annotator, unknown
from annotation.store import now
from annotation.tables import Annotator, Credential, CredentialCorrection, Identity

__all__ = ["ROLES", "CredentialClaim", "add_annotator", "correct_credential", "parse_credential"]

ROLES = ("trainee", "annotator", "pathologist", "senior", "lead", "engineer")


@dataclass(frozen=True)
class CredentialClaim:
    """A credential as typed: its kind, who issued it, and its number."""

    kind: str
    issuer: str
    number: str


def parse_credential(text: str) -> CredentialClaim:
    """Split ``KIND:ISSUER:NUMBER``; the number may hold colons."""
    parts = [part.strip() for part in text.split(":", 2)]
    if len(parts) != 3 or not all(parts):
        raise InputError(f"{text!r} is no credential; write KIND:ISSUER:NUMBER")
    return CredentialClaim(*parts)


def add_annotator(
    session: Session,
    handle: str,
    role: str,
    *,
    full_name: str | None = None,
    email: str | None = None,
    credentials: Sequence[CredentialClaim] = (),
    valid_from: date | None = None,
    valid_to: date | None = None,
) -> Annotator:
    """Add a person, or add credentials and a new role to one who is there.

    Raises
    ------
    ConflictError
        The handle exists with the same role, and nothing new was said.
    InputError
        The handle is empty, or the dates of validity are the wrong way round.
    """
    if not handle.strip():
        raise InputError("a handle cannot be empty; give a short pseudonym such as P1")
    if valid_from and valid_to and valid_from > valid_to:
        raise InputError(f"--valid-from {valid_from} lies after --valid-to {valid_to}; swap them")
    if (valid_from or valid_to) and not credentials:
        raise InputError("--valid-from and --valid-to belong to a --credential; give one as well")
    annotator = session.scalars(select(Annotator).where(Annotator.handle == handle)).first()
    if annotator is None:
        annotator = Annotator(handle=handle, role=role, created_at=now())
        session.add(annotator)
        session.flush()
        record(
            session,
            actor=None,
            action="annotator added",
            subject=f"annotator:{annotator.id}",
            new={"handle": handle, "role": role},
        )
    elif annotator.role != role:
        old, annotator.role = annotator.role, role
        record(
            session,
            actor=None,
            action="role changed",
            subject=f"annotator:{annotator.id}",
            old={"role": old},
            new={"role": role},
        )
    elif not credentials and full_name is None and email is None:
        raise ConflictError(
            f"annotator {handle!r} exists already as {role}; add a --credential, or choose "
            "another handle",
            handle=handle,
        )
    if full_name is not None or email is not None:
        _identify(session, annotator, full_name, email)
    for claim in credentials:
        _entitle(session, annotator, claim, valid_from, valid_to)
    return annotator


def _identify(
    session: Session, annotator: Annotator, full_name: str | None, email: str | None
) -> None:
    if not inspect(session.connection()).has_table(Identity.__tablename__):
        raise RefusedError(
            "this store keeps no names: its table of them was dropped; leave out --name and --email"
        )
    identity = session.get(Identity, annotator.id) or Identity(annotator_id=annotator.id)
    identity.full_name = full_name or identity.full_name
    identity.email = email or identity.email
    session.add(identity)
    # The trail says that an identity was recorded, never what it is.
    record(
        session,
        actor=None,
        action="identity recorded",
        subject=f"annotator:{annotator.id}",
    )


def _entitle(
    session: Session,
    annotator: Annotator,
    claim: CredentialClaim,
    valid_from: date | None,
    valid_to: date | None,
) -> None:
    session.add(
        Credential(
            annotator_id=annotator.id,
            kind=claim.kind,
            issuer=claim.issuer,
            number=claim.number,
            valid_from=valid_from,
            valid_to=valid_to,
            recorded_at=now(),
        )
    )
    record(
        session,
        actor=None,
        action="credential added",
        subject=f"annotator:{annotator.id}",
        new={
            "kind": claim.kind,
            "issuer": claim.issuer,
            **_days(valid_from, valid_to),
        },
    )


def correct_credential(
    session: Session,
    handle: str,
    claim: CredentialClaim,
    *,
    valid_from: date | None = None,
    valid_to: date | None = None,
    withdrawn: bool = False,
    reason: str,
) -> CredentialCorrection:
    """Correct the days of a credential, or withdraw it; what was recorded stays, and so do past reads.

    Raises
    ------
    UnknownNameError
        The person has no such credential.
    InputError
        There is no reason, or the dates are the wrong way round.
    """
    if not reason.strip():
        raise InputError("a correction needs a reason; give one with --reason")
    if valid_from and valid_to and valid_from > valid_to:
        raise InputError(f"--valid-from {valid_from} lies after --valid-to {valid_to}; swap them")
    annotator = find_annotator(session, handle)
    found = session.scalars(
        select(Credential)
        .where(
            Credential.annotator_id == annotator.id,
            Credential.kind == claim.kind,
            Credential.issuer == claim.issuer,
            Credential.number == claim.number,
        )
        .order_by(Credential.id.desc())
    ).first()
    if found is None:
        raise unknown(
            "credential",
            f"{claim.kind}:{claim.issuer}:{claim.number}",
            [],
            f"see those of {handle!r} in `pathquorum annotator list`",
        )
    row = CredentialCorrection(
        credential_id=found.id,
        at=now(),
        valid_from=valid_from,
        valid_to=valid_to,
        withdrawn=withdrawn,
        reason=reason.strip(),
    )
    session.add(row)
    session.flush()
    record(
        session,
        actor=None,
        action="credential withdrawn" if withdrawn else "credential corrected",
        subject=f"annotator:{annotator.id}",
        old={"credential": found.id, **_days(found.valid_from, found.valid_to)},
        new={"correction": row.id, **_days(valid_from, valid_to)},
        reason=row.reason,
    )
    return row


def _days(valid_from: date | None, valid_to: date | None) -> dict[str, str | None]:
    return {
        "valid_from": valid_from.isoformat() if valid_from else None,
        "valid_to": valid_to.isoformat() if valid_to else None,
    }
