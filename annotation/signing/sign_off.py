"""Whether a protocol version was put in force, and with a key where it asks for one."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import RefusedError
from annotation.protocol import Protocol
from annotation.signing.signatures import APPROVE_PROTOCOL
from annotation.tables import ProtocolVersion, Signature, SigningKey

__all__ = ["approving_key", "lacking_sign_off", "require_sign_off", "sign_off_command"]


def approving_key(session: Session, row: ProtocolVersion) -> SigningKey | None:
    """The key with which a protocol version was approved; None where nobody signed with one."""
    return session.scalars(
        select(SigningKey)
        .join(Signature, Signature.key_id == SigningKey.id)
        .where(Signature.subject == f"protocol:{row.id}", Signature.meaning == APPROVE_PROTOCOL)
        .order_by(Signature.id)
    ).first()


def lacking_sign_off(session: Session, row: ProtocolVersion, protocol: Protocol) -> str | None:
    """What a protocol version that requires a signature lacks of it; None where it lacks nothing."""
    if not protocol.require.signature or approving_key(session, row) is not None:
        return None
    if row.signed_at is None:
        return "it requires a signature and has none"
    return "it requires a signature and was approved by name alone"


def require_sign_off(session: Session, row: ProtocolVersion, protocol: Protocol) -> None:
    """Refuse a protocol version that requires a signature and lacks it.

    Raises
    ------
    RefusedError
        Nobody has signed it with a key.
    """
    lacking = lacking_sign_off(session, row, protocol)
    if lacking is not None:
        raise RefusedError(
            f"protocol {row.name!r} version {row.version!r}: {lacking}; "
            f"sign it with `{sign_off_command(row)}`",
            protocol=row.name,
        )


def sign_off_command(row: ProtocolVersion) -> str:
    """The command that signs a protocol version with a key."""
    return f"pathquorum protocol sign {row.name} --version {row.version} --by HANDLE --key FILE"
