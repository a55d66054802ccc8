"""The versions of a protocol: added, put in force by a signature, and held against each other."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import ConflictError
from annotation.protocol import Protocol
from annotation.protocol_changes import Change, protocol_changes
from annotation.signing.key_files import UnlockedKey
from annotation.signing.keys import require_key, signer_of
from annotation.signing.sign_off import approving_key
from annotation.signing.signatures import APPROVE_PROTOCOL, sign
from annotation.store import now
from annotation.study import protocol_of
from annotation.tables import Annotator, ProtocolVersion

__all__ = [
    "add_protocol",
    "changes_between",
    "latest_version",
    "previous_version",
    "sign_protocol",
    "versions_of",
]


def add_protocol(session: Session, protocol: Protocol) -> ProtocolVersion:
    """Register a version of a protocol.

    Raises
    ------
    ConflictError
        This name and version exist with another content. The same content is no conflict.
    """
    present = session.scalars(
        select(ProtocolVersion).where(
            ProtocolVersion.name == protocol.name, ProtocolVersion.version == protocol.version
        )
    ).first()
    if present is not None:
        if present.sha256 == protocol.sha256:
            return present
        raise ConflictError(
            f"protocol {protocol.name!r} version {protocol.version!r} exists with another content; "
            "give the changed file a new version",
            protocol=protocol.name,
        )
    before = latest_version(session, protocol.name)
    row = ProtocolVersion(
        name=protocol.name,
        version=protocol.version,
        sha256=protocol.sha256,
        text=protocol.text,
        added_at=now(),
    )
    session.add(row)
    session.flush()
    record(
        session,
        actor=None,
        action="protocol added",
        subject=f"protocol:{row.id}",
        new={
            "name": row.name,
            "version": row.version,
            "sha256": row.sha256,
            **({} if before is None else _against(before, row)),
        },
    )
    return row


def sign_protocol(
    session: Session, row: ProtocolVersion, by: Annotator, key: UnlockedKey | None = None
) -> None:
    """Record who put a protocol version in force; signed only where they sign with their key.

    Whoever approved it by name alone can prove it later, with their key.

    Raises
    ------
    ConflictError
        It is signed already.
    RefusedError
        It requires signatures and there is no key.
    SignatureError
        The key is somebody else's, or was revoked.
    """
    signer = signer_of(session, key, by)
    require_key(row, protocol_of(row), key, "approval")
    proves = key is not None and row.signed_by_id == by.id and approving_key(session, row) is None
    if row.signed_at is not None and not proves:
        raise ConflictError(
            f"protocol {row.name!r} version {row.version!r} is signed already; "
            "a changed protocol is a new version",
            protocol=row.name,
        )
    before = row.signed_by_id
    if before is None:
        row.signed_by_id, row.signed_at = by.id, now()
    record(
        session,
        actor=by,
        action="protocol signed",
        subject=f"protocol:{row.id}",
        old={"signed_by": before},
        new={"signed_by": by.id, "sha256": row.sha256, "signed": key is not None},
    )
    sign(session, signer, meaning=APPROVE_PROTOCOL, digests={f"protocol:{row.id}": row.sha256})


def versions_of(session: Session, name: str) -> list[ProtocolVersion]:
    """All versions of a protocol, in the order in which they were added."""
    named = select(ProtocolVersion).where(ProtocolVersion.name == name)
    return list(session.scalars(named.order_by(ProtocolVersion.id)))


def latest_version(session: Session, name: str) -> ProtocolVersion | None:
    """The version that was added last; None where there is none."""
    return next(reversed(versions_of(session, name)), None)


def previous_version(session: Session, row: ProtocolVersion) -> ProtocolVersion | None:
    """The version that was added before this one; None of the first."""
    earlier = [one for one in versions_of(session, row.name) if one.id < row.id]
    return earlier[-1] if earlier else None


def changes_between(old: ProtocolVersion, new: ProtocolVersion) -> list[Change]:
    """What the newer of two versions changes."""
    return protocol_changes(protocol_of(old), protocol_of(new))


def _against(before: ProtocolVersion, row: ProtocolVersion) -> dict[str, Any]:
    """What the trail holds of a version that follows another."""
    return {
        "previous": {"version": before.version, "sha256": before.sha256},
        "changes": [change.to_dict() for change in changes_between(before, row)],
    }
