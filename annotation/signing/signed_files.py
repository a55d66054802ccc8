"""Signatures that go out with files: JSON beside the file, or a signed head by itself.

Anyone can check one with OpenSSL: the member ``statement`` is the very text that was signed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.audit import parse_head, utc_text, verify
from annotation.distribution.binding import study_id
from annotation.errors import InputError, SignatureError
from annotation.signing.key_files import public_fingerprint
from annotation.signing.keys import read_public_key
from annotation.signing.signatures import Statement, holds, statement_of
from annotation.tables import Annotator, Event, Signature, SigningKey

__all__ = [
    "SUFFIX",
    "CheckedFile",
    "SignedFile",
    "check_file",
    "check_signed_file",
    "detached",
    "read_signed_file",
    "signature_path",
    "unsigned_head",
]

SUFFIX = ".sig"
FORMAT = "pathquorum-signature/1"
HEAD_FORMAT = "pathquorum-head/1"
_LARGEST_BYTES = 65_536


class SignedFile(msgspec.Struct, omit_defaults=True):
    """What stands in such a file. All but ``head`` and ``study`` is absent where nobody signed.

    ``file`` is the name of the file beside it; a signed head has none.
    """

    format: str
    head: str
    study: str
    at: str
    file: str | None = None
    signer: str | None = None
    meaning: str | None = None
    sha256: str | None = None
    fingerprint: str | None = None
    public_key: str | None = None
    statement: str | None = None
    signature: str | None = None

    def to_bytes(self) -> bytes:
        """The file's content."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def signature_path(file: Path) -> Path:
    """Where the signature of a file stands."""
    return file.with_name(file.name + SUFFIX)


def detached(session: Session, row: Signature, file_name: str | None = None) -> SignedFile:
    """A signature on record as it goes out; without a file's name, as a signed head."""
    key = session.get_one(SigningKey, row.key_id)
    statement = statement_of(session, row)
    return SignedFile(
        format=FORMAT if file_name is not None else HEAD_FORMAT,
        head=row.head,
        study=statement.study,
        at=statement.at,
        file=file_name,
        signer=session.get_one(Annotator, row.annotator_id).handle,
        meaning=row.meaning,
        sha256=row.sha256,
        fingerprint=key.fingerprint,
        public_key=key.public_key,
        statement=statement.to_bytes().decode(),
        signature=base64.b64encode(row.signature).decode(),
    )


def unsigned_head(session: Session, event: Event) -> SignedFile:
    """The head as it was when an event came in, signed by nobody."""
    count = session.scalar(select(func.count()).select_from(Event).where(Event.id <= event.id))
    return SignedFile(
        format=HEAD_FORMAT,
        head=f"{count}:{event.hash}",
        study=study_id(session),
        at=utc_text(event.at),
    )


def read_signed_file(path: Path) -> SignedFile:
    """Read a signature or head.

    Raises
    ------
    InputError
        It can't be read, or is none.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror}); name the signed file"
        ) from error
    try:
        if len(content) > _LARGEST_BYTES:
            raise ValueError
        signed = msgspec.json.decode(content, type=SignedFile)
        if signed.format not in (FORMAT, HEAD_FORMAT):
            raise ValueError
        parse_head(signed.head)
    except (ValueError, RecursionError):  # msgspec's errors and InputError are ValueErrors
        raise InputError(
            f"{path} is no signature or head of pathquorum; name a .sig file, or what "
            "`pathquorum audit head` wrote"
        ) from None
    return signed


@dataclass(frozen=True)
class CheckedFile:
    """Whether a file is what was signed; ``problem`` says why not."""

    file: Path
    signer: str | None
    meaning: str | None
    problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """Its part of the document of ``signature verify``."""
        return {
            "file": str(self.file),
            "ok": self.problem is None,
            "signer": self.signer,
            "meaning": self.meaning,
            "problem": self.problem,
        }


def check_file(session: Session, file: Path) -> CheckedFile:
    """Hold a file against the signature beside it, and that against the keys and the trail.

    Raises
    ------
    InputError
        One of the two can't be read.
    """
    beside = signature_path(file)
    signed = read_signed_file(beside)
    problem = None
    try:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{file} can't be read ({error.strerror}); name the signed file"
        ) from error
    try:
        key = check_signed_file(session, signed, beside)
    except SignatureError as error:
        problem = str(error)
    else:
        if key is None:
            problem = f"{beside} bears no signature"
        elif signed.sha256 != digest:
            problem = f"{file} is not what was signed: its SHA-256 is {digest}"
        elif not (trail := verify(session, against=signed.head)).ok:
            problem = f"the trail is not what it was: {trail.problem}"
    return CheckedFile(file, signed.signer, signed.meaning, problem)


def check_signed_file(session: Session, signed: SignedFile, path: Path) -> SigningKey | None:
    """Hold a file's signature against the keys on record.

    Returns
    -------
    The key that signed it; None where nobody did.

    Raises
    ------
    SignatureError
        It is another study's, its key is not on record or may not have signed, or it was changed.
    """
    if signed.study != study_id(session):
        raise _refused(path, "is of another study; name the store that it belongs to with --store")
    if signed.statement is None or signed.signature is None or signed.public_key is None:
        if (signed.statement, signed.signature, signed.public_key) != (None, None, None):
            raise _refused(path, "holds part of a signature; take it from a copy")
        return None
    fingerprint = public_fingerprint(read_public_key(signed.public_key))
    key = session.scalars(select(SigningKey).where(SigningKey.fingerprint == fingerprint)).first()
    if key is None:
        raise _refused(
            path,
            f"was signed with a key that is not on record here ({fingerprint[:12]}…): it is not "
            "genuine, or the keys on record were replaced; ask the signer for the fingerprint",
        )
    try:
        signature = base64.b64decode(signed.signature, validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if not holds(key.public_key, signature, signed.statement.encode()):
        raise _refused(path, "was changed: its signature does not hold; take it from a copy")
    try:
        statement = msgspec.json.decode(signed.statement, type=Statement)
    except msgspec.DecodeError:
        raise _refused(path, "states nothing of pathquorum; take it from a copy") from None
    _check_stated(session, signed, statement, key, path)
    return key


def _check_stated(
    session: Session, signed: SignedFile, statement: Statement, key: SigningKey, path: Path
) -> None:
    """What is told beside the statement must be what was signed, by a key then in force."""
    told: dict[str, Any] = {
        "head": statement.head,
        "study": statement.study,
        "at": statement.at,
        "meaning": statement.meaning,
        "sha256": statement.sha256,
        "fingerprint": key.fingerprint,
        "signer": session.get_one(Annotator, key.annotator_id).handle,
    }
    for member, value in told.items():
        if getattr(signed, member) != value:
            raise _refused(path, f"was changed: its {member} is not what was signed")
    if statement.signer != f"annotator:{key.annotator_id}":
        raise _refused(path, "names another signer than its key's owner; take it from a copy")
    if statement.at < utc_text(key.valid_from):
        raise _refused(path, "was signed before its key was on record; ask the signer")
    if key.revoked_at is not None and statement.at > utc_text(key.revoked_at):
        raise _refused(path, "was signed after its key was revoked; ask the signer")


def _refused(path: Path, why: str) -> SignatureError:
    return SignatureError(f"{path} {why}", file=path)
