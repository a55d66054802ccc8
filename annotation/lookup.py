"""Finding a row by the name a user typed, or saying which names are near."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import UnknownNameError
from annotation.tables import Annotator, ProtocolVersion, Pull, Read, Slide

__all__ = ["find_annotator", "find_protocol", "find_pull", "find_read", "find_slide", "unknown"]

Row = TypeVar("Row", Pull, Read)


def unknown(kind: str, name: str, known: Iterable[str], next_step: str) -> UnknownNameError:
    """The error for a name that isn't there, with the nearest ones."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    hint = f" (near: {', '.join(near)})" if near else ""
    return UnknownNameError(
        f"no {kind} {name!r}{hint}; {next_step}", kind=kind, name=name, known=near
    )


def find_annotator(session: Session, handle: str) -> Annotator:
    """The annotator with this handle."""
    found = session.scalars(select(Annotator).where(Annotator.handle == handle)).first()
    if found is None:
        raise unknown(
            "annotator",
            handle,
            session.scalars(select(Annotator.handle)),
            "add people with `pathquorum annotator add HANDLE --role ROLE`",
        )
    return found


def find_slide(session: Session, name: str) -> Slide:
    """The slide with this name."""
    found = session.scalars(select(Slide).where(Slide.name == name)).first()
    if found is None:
        raise unknown(
            "slide",
            name,
            session.scalars(select(Slide.name)),
            "add slides with `pathquorum slide add PATH`",
        )
    return found


def find_protocol(session: Session, name: str | None) -> ProtocolVersion:
    """The protocol of this name, or ``name@version``; the latest added version by default.

    Without a name: the only protocol there is.
    """
    newest = select(ProtocolVersion).order_by(ProtocolVersion.id.desc())
    if name is None:
        names = sorted(set(session.scalars(select(ProtocolVersion.name))))
        if len(names) != 1:
            raise (
                unknown("protocol", "", [], f"name one with --protocol: {', '.join(names)}")
                if names
                else unknown("protocol", "", [], "add one with `pathquorum protocol add`")
            )
        name = names[0]
    found = session.scalars(newest.where(ProtocolVersion.name == name)).first()
    if found is None and "@" in name:
        base, _, number = name.rpartition("@")
        found = session.scalars(
            newest.where(ProtocolVersion.name == base, ProtocolVersion.version == number)
        ).first()
    if found is None:
        raise unknown(
            "protocol",
            name,
            session.scalars(select(ProtocolVersion.name).distinct()),
            "add one with `pathquorum protocol add FILE.toml`",
        )
    return found


def find_pull(session: Session, number: int) -> Pull:
    """The pull with this number."""
    return _numbered(session, Pull, "pull", number, "see the numbers in `pathquorum status`")


def find_read(session: Session, number: int) -> Read:
    """The read with this number."""
    return _numbered(session, Read, "read", number, "see the numbers in `pathquorum status`")


def _numbered(session: Session, table: type[Row], kind: str, number: int, step: str) -> Row:
    found = session.get(table, number)
    if found is None:
        raise unknown(kind, str(number), [], step)
    return found
