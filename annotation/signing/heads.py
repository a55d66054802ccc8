"""Signed heads of the audit trail: what shows later that it was neither rewritten nor cut."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from annotation.audit import Verification, current_head, parse_head, verify
from annotation.errors import InputError, RefusedError
from annotation.signing.key_files import UnlockedKey
from annotation.signing.keys import signer_of
from annotation.signing.signatures import VOUCH_FOR_TRAIL, sign
from annotation.signing.signed_files import (
    SignedFile,
    check_signed_file,
    detached,
    read_signed_file,
)
from annotation.tables import Annotator

__all__ = ["HeldAgainst", "held_against", "sign_head", "verify_against"]


def sign_head(session: Session, key: UnlockedKey, by: Annotator) -> SignedFile:
    """Sign the head in force.

    Raises
    ------
    RefusedError
        The trail is broken: nobody should vouch for it.
    """
    signer = signer_of(session, key, by)
    found = verify(session)
    if not found.ok:
        raise RefusedError(
            f"the trail is broken at event {found.first_bad} ({found.problem}), so its head is not "
            "signed; see `pathquorum audit verify`"
        )
    count, digest = parse_head(current_head(session))
    (signature,) = sign(
        session, signer, meaning=VOUCH_FOR_TRAIL, digests={f"audit:{count}": digest}
    )
    return detached(session, signature)


@dataclass(frozen=True)
class HeldAgainst:
    """A head that a chain is held against, and who signed it when; None where nobody did."""

    head: str
    signed_by: str | None = None
    fingerprint: str | None = None
    at: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Its part of the document of ``audit verify``."""
        return vars(self)


def held_against(session: Session, text: str) -> HeldAgainst:
    """A head as it was given: COUNT:HASH, or a file that holds one, its signature checked.

    Raises
    ------
    SignatureError
        The file's signature does not hold.
    """
    count, _, digest = text.partition(":")
    if count.isdecimal() and len(digest) == 64:
        return HeldAgainst(text)
    path = Path(text)
    if not path.exists():
        raise InputError(
            f"{text!r} is no head and no file; give what `pathquorum audit verify` printed as "
            "head, COUNT:HASH, or what `pathquorum audit head` wrote"
        )
    signed = read_signed_file(path)
    key = check_signed_file(session, signed, path)
    if key is None:
        return HeldAgainst(signed.head, at=signed.at)
    return HeldAgainst(signed.head, signed.signer, key.fingerprint, signed.at)


def verify_against(session: Session, text: str | None) -> tuple[Verification, HeldAgainst | None]:
    """Walk the chain, and hold it against a head where one is given."""
    against = None if text is None else held_against(session, text)
    return verify(session, against=against.head if against else None), against
