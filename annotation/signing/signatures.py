"""Signing: what stands in a statement, and how it goes on record.

A statement is canonical JSON (sorted keys, no spaces, UTF-8): what was signed by its SHA-256, with
which meaning, by whom, when, in which study, and the head of the audit trail at that moment. So
each signature also holds the trail before it in place.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from cryptography.exceptions import InvalidSignature
from sqlalchemy.orm import Session

from annotation.audit import current_head, record, utc_text
from annotation.distribution.binding import study_id
from annotation.signing.keys import Signer, read_public_key
from annotation.store import now
from annotation.tables import Signature

__all__ = [
    "APPROVE_PROTOCOL",
    "APPROVE_REPORT",
    "DECIDE",
    "RELEASE",
    "SIGNED",
    "TAKE_BACK",
    "VOUCH_FOR_TRAIL",
    "Statement",
    "holds",
    "sign",
    "statement_of",
]

APPROVE_PROTOCOL = "I approve this protocol"
DECIDE = "I decided this dispute"
TAKE_BACK = "I took this decision back"
RELEASE = "I release this training set"
APPROVE_REPORT = "I approve this report"
VOUCH_FOR_TRAIL = "I vouch for the audit trail up to this head"

SIGNED = "signed"


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a signature is made over; ``signer`` is ``annotator:id``, never a name."""

    at: str
    head: str
    meaning: str
    sha256: str
    signer: str
    study: str
    subject: str

    def to_bytes(self) -> bytes:
        """The bytes that are signed."""
        return msgspec.json.encode(self, order="sorted")


def statement_of(session: Session, row: Signature) -> Statement:
    """The statement of a signature, made anew from its row."""
    return Statement(
        at=utc_text(row.at),
        head=row.head,
        meaning=row.meaning,
        sha256=row.sha256,
        signer=f"annotator:{row.annotator_id}",
        study=study_id(session),
        subject=row.subject,
    )


def sign(
    session: Session, signer: Signer | None, *, meaning: str, digests: Mapping[str, str]
) -> list[Signature]:
    """Sign several things with one meaning, each by itself, in the caller's transaction.

    Parameters
    ----------
    signer
        From :func:`annotation.signing.keys.signer_of`; None signs nothing.
    digests
        SHA-256 of what is signed, by its subject ``kind:id``.
    """
    if signer is None:
        return []
    head = current_head(session)
    made = []
    for subject, sha256 in digests.items():
        signature = Signature(
            at=now(),
            annotator_id=signer.annotator.id,
            key_id=signer.row.id,
            meaning=meaning,
            subject=subject,
            sha256=sha256,
            head=head,
        )
        statement = statement_of(session, signature).to_bytes()
        signature.signature = signer.key.private.sign(statement)
        made.append(signature)
    session.add_all(made)
    session.flush()
    for signature in made:
        record(
            session,
            actor=signer.annotator,
            action=SIGNED,
            subject=signature.subject,
            new={
                "signature": signature.id,
                "key": signer.row.id,
                "meaning": meaning,
                "sha256": signature.sha256,
            },
        )
    return made


def holds(public_key: str, signature: bytes, content: bytes) -> bool:
    """Whether a signature over these bytes was made with the private half of a public key."""
    try:
        read_public_key(public_key).verify(signature, content)
    except InvalidSignature:
        return False
    return True
