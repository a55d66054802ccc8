"""What is said of a study as a whole: its ethics approval and its intended use."""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.errors import InputError
from annotation.store import now
from annotation.tables import StudyStatement

__all__ = ["KINDS", "state", "statements"]

KINDS: Final = {
    "ethics": "Ethics approval",
    "intended-use": "Intended use",
}
_LONGEST = 2_000


def state(session: Session, kind: str, text: str) -> StudyStatement:
    """Say something of the study; what was said before stays on record.

    Raises
    ------
    InputError
        It is empty or too long.
    """
    if not text.strip() or len(text) > _LONGEST:
        raise InputError(f"--{kind} needs a text of 1 to {_LONGEST:,} characters")
    before = statements(session).get(kind)
    row = StudyStatement(at=now(), kind=kind, text=text.strip())
    session.add(row)
    session.flush()
    record(
        session,
        actor=None,
        action="study described",
        subject=f"study:{kind}",
        old=None if before is None else {"text": before},
        new={"text": row.text},
    )
    return row


def statements(session: Session) -> dict[str, str]:
    """The last word of each kind."""
    rows = session.scalars(select(StudyStatement).order_by(StudyStatement.id))
    return {row.kind: row.text for row in rows}
