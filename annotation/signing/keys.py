"""Keys on record: whose they are, and from when until when they may sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import overload

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import InputError, RefusedError, SignatureError
from annotation.protocol import Protocol
from annotation.signing.key_files import UnlockedKey
from annotation.store import now
from annotation.tables import Annotator, ProtocolVersion, SigningKey

__all__ = [
    "CREATED",
    "REVOKED",
    "Signer",
    "read_public_key",
    "register_key",
    "require_key",
    "revoke_keys",
    "signer_of",
]

CREATED = "key created"
REVOKED = "key revoked"


def register_key(session: Session, annotator: Annotator, key: UnlockedKey) -> SigningKey:
    """Put the public half of a new key on record."""
    row = SigningKey(
        annotator_id=annotator.id,
        public_key=key.public_key,
        fingerprint=key.fingerprint,
        valid_from=now(),
    )
    session.add(row)
    session.flush()
    record(
        session,
        actor=None,
        action=CREATED,
        subject=f"key:{row.id}",
        new={"annotator": annotator.id, "fingerprint": row.fingerprint},
    )
    return row


def revoke_keys(
    session: Session, annotator: Annotator, *, reason: str, fingerprint: str | None = None
) -> list[SigningKey]:
    """Revoke the keys of an annotator that are in force; what they signed before stays signed.

    Parameters
    ----------
    fingerprint
        How that of one key begins; None revokes all.
    """
    if not reason.strip():
        raise InputError(
            f"annotator {annotator.handle!r}: a key is revoked for a reason; give one with --reason"
        )
    rows = session.scalars(
        select(SigningKey)
        .where(SigningKey.annotator_id == annotator.id, SigningKey.revoked_at.is_(None))
        .order_by(SigningKey.id)
    )
    chosen = [row for row in rows if row.fingerprint.startswith(fingerprint or "")]
    if not chosen:
        which = f" that begins with {fingerprint!r}" if fingerprint else ""
        raise InputError(
            f"annotator {annotator.handle!r} has no key in force{which}; see `pathquorum key list`"
        )
    for row in chosen:
        row.revoked_at = now()
        session.flush()
        record(
            session,
            actor=None,
            action=REVOKED,
            subject=f"key:{row.id}",
            old={"annotator": annotator.id, "fingerprint": row.fingerprint},
            reason=reason.strip(),
        )
    return chosen


@dataclass(frozen=True)
class Signer:
    """Somebody with their key in hand, and its record."""

    annotator: Annotator
    key: UnlockedKey
    row: SigningKey


@overload
def signer_of(session: Session, key: UnlockedKey, by: Annotator | None = None) -> Signer: ...


@overload
def signer_of(
    session: Session, key: UnlockedKey | None, by: Annotator | None = None
) -> Signer | None: ...


def signer_of(
    session: Session, key: UnlockedKey | None, by: Annotator | None = None
) -> Signer | None:
    """Who signs with a key; None where there is none.

    Parameters
    ----------
    by
        Whose it must be; None takes it for its owner's.

    Raises
    ------
    SignatureError
        It is not on record, revoked, or somebody else's.
    """
    if key is None:
        return None
    row = session.scalars(
        select(SigningKey).where(SigningKey.fingerprint == key.fingerprint)
    ).first()
    if row is None:
        raise SignatureError(
            f"the key in {key.file} is not on record in this store; see `pathquorum key list`, or "
            "make one with `pathquorum key create HANDLE --to FILE`"
        )
    owner = session.get_one(Annotator, row.annotator_id)
    if by is not None and by.id != owner.id:
        raise SignatureError(
            f"the key in {key.file} is {owner.handle!r}'s, and {by.handle!r} is to sign; "
            f"sign with a key of {by.handle!r}",
            annotator=by.handle,
        )
    if row.revoked_at is not None:
        raise SignatureError(
            f"the key in {key.file} was revoked on {row.revoked_at:%Y-%m-%d}; "
            f"make {owner.handle!r} another with `pathquorum key create`",
            annotator=owner.handle,
        )
    return Signer(owner, key, row)


def require_key(
    row: ProtocolVersion, protocol: Protocol, key: UnlockedKey | None, what: str
) -> None:
    """Refuse what a protocol wants signed and nobody signs."""
    if protocol.require.signature and key is None:
        raise RefusedError(
            f"protocol {row.name!r} version {row.version!r} requires signatures and this {what} "
            "has none; sign it with --key FILE (`pathquorum key create` makes one)",
            protocol=row.name,
        )


def read_public_key(pem: str) -> Ed25519PublicKey:
    """A public key from PEM."""
    try:
        public = load_pem_public_key(pem.encode())
    except ValueError:
        raise SignatureError("the public key is no PEM; take the file from a copy") from None
    if not isinstance(public, Ed25519PublicKey):
        raise SignatureError("the public key is not of Ed25519; take the file from a copy")
    return public
