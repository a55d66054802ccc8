"""The audit trail: every change of state is an event, written in the transaction of the change.

Each event's hash is the SHA-256 over all its columns but the key, the hash of the event before it
among them. That finds a changed, missing, reordered or inserted event; it cannot find that the
whole chain was written anew or cut at its end by whoever owns the database. For that, keep the
head which ``verify`` prints, or a signed one (``annotation.signing``), and compare later with
``verify --against``.
"""

from __future__ import annotations

import csv
import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TextIO

import msgspec
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation.errors import InputError, StoreDamagedError
from annotation.store import SOFTWARE_VERSION, now, store_salt
from annotation.tables import Annotator, Event

__all__ = [
    "Verification",
    "current_head",
    "export_csv",
    "export_lines",
    "parse_head",
    "record",
    "utc_text",
    "verify",
]

GENESIS = "0" * 64
HASHED_COLUMNS = (
    "at",
    "actor",
    "action",
    "subject",
    "old",
    "new",
    "reason",
    "software_version",
    "previous_hash",
)
_EVENTS_AT_ONCE = 1000
# SQLite takes any value in any column.
_UNREADABLE = (ValueError, TypeError, msgspec.DecodeError)


def record(
    session: Session,
    *,
    actor: Annotator | None,
    action: str,
    subject: str,
    old: dict[str, Any] | None = None,
    new: dict[str, Any] | None = None,
    reason: str | None = None,
) -> Event:
    """Append an event to the trail, in the caller's transaction.

    Parameters
    ----------
    actor
        Who did it; None where the command names nobody, and then a salted digest of the login
        stands in, because a login is a person's name.
    subject
        What changed, as ``kind:id``.
    """
    previous = session.scalars(select(Event.hash).order_by(Event.id.desc()).limit(1)).first()
    row: dict[str, Any] = {
        "at": now(),
        "actor": _login(session) if actor is None else f"annotator:{actor.id}",
        "action": action,
        "subject": subject,
        "old": old,
        "new": new,
        "reason": reason,
        "software_version": SOFTWARE_VERSION,
        "previous_hash": previous or GENESIS,
    }
    event = Event(**row, hash=event_hash(row))
    session.add(event)
    session.flush()
    told = {"audit_event": event.id, "action": action, "subject": subject, "actor": row["actor"]}
    session.info.setdefault("recorded", []).append(told)
    return event


def event_hash(row: dict[str, Any]) -> str:
    """SHA-256 over the canonical JSON of an event's columns.

    The JSON has sorted keys and no spaces; the time is ISO 8601 in UTC with microseconds. It is
    written by the standard library, so that whoever checks a trail needs nothing else: others
    write the same number otherwise (1e-05 as 0.00001).
    """
    content = {key: row[key] for key in HASHED_COLUMNS}
    content["at"] = utc_text(content["at"])
    stored = msgspec.json.decode(msgspec.json.encode(content))
    canonical = json.dumps(stored, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def current_head(session: Session) -> str:
    """The chain's head as it is stored, COUNT:HASH; :func:`verify` says whether it holds."""
    count = session.scalar(select(func.count()).select_from(Event))
    last = session.scalars(select(Event.hash).order_by(Event.id.desc()).limit(1)).first()
    return f"{count}:{last or GENESIS}"


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found: events counted, the id of the first bad one, the chain's head."""

    events: int
    ok: bool
    first_bad: int | None
    problem: str | None
    head: str

    def to_dict(self) -> dict[str, Any]:
        """The document of ``audit verify --json``."""
        return asdict(self)


def verify(session: Session, *, against: str | None = None) -> Verification:
    """Walk the chain from the first event to the last.

    Parameters
    ----------
    against
        A head printed earlier, ``COUNT:HASH``; the chain must still contain it at that place.
    """
    wanted = parse_head(against) if against else None
    previous, count, first_bad, problem = GENESIS, 0, None, None
    for key, event in _trail(session):
        count += 1
        if first_bad is None:
            if event is None:
                problem = "its content was changed to what no event can hold"
            elif event.previous_hash != previous:
                problem = "an event before it is missing, changed, inserted or out of order"
            elif event_hash({name: getattr(event, name) for name in HASHED_COLUMNS}) != event.hash:
                problem = "its content was changed"
            elif wanted is not None and count == wanted[0] and event.hash != wanted[1]:
                problem = "the chain was rewritten: another event stands where the head was"
            if problem is not None:
                first_bad = key
        previous = previous if event is None else event.hash
    if first_bad is None and wanted is not None and count < wanted[0]:
        first_bad = wanted[0]
        problem = f"the chain was cut: it had {wanted[0]} events when the head was taken"
    return Verification(count, first_bad is None, first_bad, problem, f"{count}:{previous}")


def _trail(session: Session) -> Iterator[tuple[int, Event | None]]:
    """Every event by its key, oldest first; None where the row can't be read as one."""
    keys = session.scalars(select(Event.id).order_by(Event.id)).all()
    for start in range(0, len(keys), _EVENTS_AT_ONCE):
        some = keys[start : start + _EVENTS_AT_ONCE]
        query = select(Event).where(Event.id.in_(some))
        try:
            events: dict[int, Event | None] = {event.id: event for event in session.scalars(query)}
        except _UNREADABLE:
            events = {key: _readable(session, key) for key in some}
        yield from ((key, events[key]) for key in some)


def _readable(session: Session, key: int) -> Event | None:
    try:
        return session.get(Event, key)
    except _UNREADABLE:
        return None


def export_lines(session: Session) -> Iterator[dict[str, Any]]:
    """The events as plain dictionaries, oldest first.

    Raises
    ------
    StoreDamagedError
        One of them can't be read.
    """
    for key, event in _trail(session):
        if event is None:
            raise StoreDamagedError(
                f"event {key} of the audit trail can't be read: it was changed to what no event can "
                "hold; bring back a backup",
                event=key,
            )
        row = {"id": key, **{name: getattr(event, name) for name in HASHED_COLUMNS}}
        yield {**row, "at": utc_text(event.at), "hash": event.hash}


def export_csv(session: Session, stream: TextIO) -> int:
    """Write the events as CSV; old and new values as JSON. Returns the number of events.

    Nothing is lost: an empty cell is null, and a cell's leading apostrophe is no part of its text.
    """
    writer = csv.writer(stream)
    writer.writerow(["id", *HASHED_COLUMNS, "hash"])
    count = 0
    for row in export_lines(session):
        writer.writerow([_exported_cell(value) for value in row.values()])
        count += 1
    return count


def _exported_cell(value: object) -> object:
    if isinstance(value, dict):
        return msgspec.json.encode(value, order="sorted").decode()
    return "'" if value == "" else quoted_cell(value)


def quoted_cell(cell: object) -> object:
    """A CSV cell that no spreadsheet takes for a formula.

    What begins with the apostrophe itself gets another, so that one can be taken off again.
    """
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r", "'")):
        return "'" + cell
    return cell


def parse_head(head: str) -> tuple[int, str]:
    """Count and hash of a head."""
    count, _, digest = head.partition(":")
    if not count.isdecimal() or len(digest) != 64:
        raise InputError(
            f"{head!r} is no head; give what `pathquorum audit verify` printed as head, COUNT:HASH"
        )
    return int(count), digest


def utc_text(at: datetime) -> str:
    """A moment as it is hashed and signed: ISO 8601 in UTC with microseconds."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _login(session: Session) -> str:
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container without a password file
        login = str(os.getuid())
    return "login:" + hashlib.sha256((store_salt(session) + login).encode()).hexdigest()[:16]
