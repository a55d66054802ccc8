"""Whether every signature on record still holds: its bytes, its key, its place in the trail, and
what was signed.

What was signed is told by the packages that know it: for each kind of subject, a function that
derives its SHA-256 anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import parse_head, utc_text, verify
from annotation.errors import PathquorumError, SignatureError
from annotation.signing.key_files import public_fingerprint
from annotation.signing.keys import CREATED, REVOKED, read_public_key
from annotation.signing.signatures import SIGNED, holds, statement_of
from annotation.study import protocol_of
from annotation.tables import Annotator, Event, ProtocolVersion, Signature, SigningKey

__all__ = ["CONTENTS", "Content", "Problem", "SignatureCheck", "verify_signatures"]

Content = Callable[[Session, Signature, int], str]
"""Derives the SHA-256 of what was signed, by the id in the subject.

It raises a SignatureError where that is gone or contradicts itself.
"""


@dataclass(frozen=True)
class Problem:
    """A signature that no longer holds, or a key; ``signature`` is None where there is no row."""

    signature: int | None
    subject: str
    signer: str | None
    meaning: str | None
    problem: str


@dataclass
class SignatureCheck:
    """What :func:`verify_signatures` found."""

    signatures: int = 0
    keys: int = 0
    bad: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether all of them hold."""
        return not self.bad

    def to_dict(self) -> dict[str, Any]:
        """The document of ``signature verify``."""
        return {"ok": self.ok, **asdict(self)}


def protocol_content(session: Session, row: Signature, number: int) -> str:
    """The digest of a protocol version as its text says it now."""
    version = session.get(ProtocolVersion, number)
    if version is None:
        raise SignatureError("the protocol is gone")
    protocol = protocol_of(version)
    if (protocol.name, protocol.version) != (version.name, version.version):
        raise SignatureError("the protocol's name or version was changed")
    if version.signed_by_id != row.annotator_id:
        raise SignatureError("the protocol names another signer")
    if version.sha256 != protocol.sha256:
        raise SignatureError("the protocol's text is not of its stated SHA-256")
    return protocol.sha256


def report_content(session: Session, _row: Signature, number: int) -> str:
    """The digest of a report's file as the trail has it."""
    event = session.get(Event, number)
    digest = None if event is None or event.new is None else event.new.get("sha256")
    if not isinstance(digest, str):
        raise SignatureError("the report's event is gone")
    return digest


def trail_content(session: Session, row: Signature, _number: int) -> str:
    """The hash of the head that was vouched for; its place is checked for every signature."""
    return parse_head(row.head)[1]


CONTENTS: Mapping[str, Content] = {
    "protocol": protocol_content,
    "report": report_content,
    "audit": trail_content,
}


def verify_signatures(session: Session, contents: Mapping[str, Content]) -> SignatureCheck:
    """Derive every signature and what was signed anew.

    Parameters
    ----------
    contents
        By kind of subject.
    """
    found = SignatureCheck()
    trail = verify(session)
    if not trail.ok:
        _note(found, "audit", f"event {trail.first_bad} of the trail is bad: {trail.problem}")
    keys = {key.id: key for key in session.scalars(select(SigningKey).order_by(SigningKey.id))}
    found.keys = len(keys)
    for key in keys.values():
        _check_key(session, key, found)
    handles = {person.id: person.handle for person in session.scalars(select(Annotator))}
    recorded = _recorded(session)
    rows = session.scalars(select(Signature).order_by(Signature.id)).all()
    hashes = _hashes(session, {_place(row.head) for row in rows})
    for row in rows:
        found.signatures += 1
        told = recorded.pop(row.id, None)
        for problem in (
            *_key_faults(session, row, keys.get(row.key_id)),
            *_place_faults(row, hashes),
            *_trail_faults(row, told),
            *_content_faults(session, row, contents),
        ):
            signer = handles.get(row.annotator_id)
            found.bad.append(Problem(row.id, row.subject, signer, row.meaning, problem))
    for number, event in recorded.items():
        _note(found, event.subject, f"signature {number}, which event {event.id} records, is gone")
    return found


def _note(found: SignatureCheck, subject: str, problem: str) -> None:
    found.bad.append(Problem(None, subject, None, None, problem))


def _check_key(session: Session, key: SigningKey, found: SignatureCheck) -> None:
    """A key must be the one that the trail records, in force as long as the trail says."""
    subject = f"key:{key.id}"
    actions = select(Event).where(Event.subject == subject).order_by(Event.id)
    events = {event.action: event for event in session.scalars(actions)}
    expected = {"annotator": key.annotator_id, "fingerprint": key.fingerprint}
    created = events.get(CREATED)
    if created is None or created.new != expected:
        _note(found, subject, "the trail records another key, or none")
    if (key.revoked_at is None) != (REVOKED not in events):
        _note(found, subject, "the trail says otherwise whether it was revoked")
    try:
        derived = public_fingerprint(read_public_key(key.public_key))
    except SignatureError:
        derived = ""
    if derived != key.fingerprint:
        _note(found, subject, "its public key is not of its fingerprint")


def _recorded(session: Session) -> dict[int, Event]:
    """The events that record a signature, by its number."""
    events = session.scalars(select(Event).where(Event.action == SIGNED).order_by(Event.id))
    return {
        event.new["signature"]: event
        for event in events
        if event.new is not None and "signature" in event.new
    }


def _place(head: str) -> int:
    try:
        return parse_head(head)[0]
    except PathquorumError:
        return 0


def _hashes(session: Session, places: set[int]) -> dict[int, str]:
    """The hashes of the events at these places of the chain, counted from 1."""
    hashes = session.scalars(
        select(Event.hash).order_by(Event.id).execution_options(yield_per=10_000)
    )
    return {place: text for place, text in enumerate(hashes, start=1) if place in places}


def _key_faults(session: Session, row: Signature, key: SigningKey | None) -> Iterator[str]:
    """What is wrong with the signature itself, and with the key that made it."""
    if key is None:
        yield "its key is gone"
        return
    if key.annotator_id != row.annotator_id:
        yield "its key is somebody else's"
    try:
        genuine = holds(key.public_key, row.signature, statement_of(session, row).to_bytes())
    except SignatureError:
        genuine = False
    if not genuine:
        yield "its signature does not hold: the row or the key was changed"
    if row.at < key.valid_from:
        yield "it was made before its key was on record"
    if key.revoked_at is not None and row.at > key.revoked_at:
        yield f"it was made after its key was revoked ({utc_text(key.revoked_at)})"


def _place_faults(row: Signature, hashes: Mapping[int, str]) -> Iterator[str]:
    """What is wrong with the trail as it was when this was signed."""
    place, _, digest = row.head.partition(":")
    if hashes.get(_place(row.head)) != digest:
        yield f"the trail was cut or rewritten: event {place} is not what it was when this was signed"


def _trail_faults(row: Signature, event: Event | None) -> Iterator[str]:
    """What is wrong between a signature and the event that records it."""
    if event is None or event.new is None:
        yield "no event of the trail records it"
        return
    told = {"signature": row.id, "key": row.key_id, "meaning": row.meaning, "sha256": row.sha256}
    if event.new != told or event.subject != row.subject:
        yield f"event {event.id} records it otherwise"


def _content_faults(
    session: Session, row: Signature, contents: Mapping[str, Content]
) -> Iterator[str]:
    """What is wrong with what was signed."""
    kind, _, number = row.subject.partition(":")
    if kind not in contents or not number.isdecimal():
        yield "this version does not know what was signed"
        return
    try:
        derived = contents[kind](session, row, int(number))
    except PathquorumError as error:
        yield str(error)
        return
    if derived != row.sha256:
        yield "what was signed has changed since"
