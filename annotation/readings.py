"""Whose reading of what a source is: as it was named, or as it was assigned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sqlalchemy.orm import Session

from annotation.errors import SourceError
from annotation.lookup import find_annotator, find_protocol, find_slide
from annotation.recognition import slide_of_image
from annotation.sources import ReadSource
from annotation.tables import Annotator, Assignment, ProtocolVersion, Slide

__all__ = ["ReadOf", "assigned_readings", "named_readings", "within_washout"]


@dataclass(frozen=True)
class ReadOf:
    """Whose reading of what a source is."""

    annotator: Annotator
    protocol: ProtocolVersion
    slide: Slide
    replicate: int
    assignment: Assignment | None = None

    @property
    def key(self) -> tuple[int, int, int, int]:
        """What tells one read from all others."""
        return self.slide.id, self.annotator.id, self.protocol.id, self.replicate


def assigned_readings(session: Session, assignments: Sequence[str]) -> list[ReadOf]:
    """Whose reading of what some assignments are, by their ids."""
    rows = [session.get_one(Assignment, identity) for identity in assignments]
    return [
        ReadOf(
            session.get_one(Annotator, row.annotator_id),
            session.get_one(ProtocolVersion, row.protocol_id),
            session.get_one(Slide, row.slide_id),
            row.replicate,
            row,
        )
        for row in rows
    ]


def named_readings(
    session: Session,
    sources: Sequence[ReadSource],
    *,
    annotator: str,
    protocol: str,
    slide: str | None,
    replicate: int,
    slides_root: Path | None = None,
) -> list[ReadOf]:
    """Whose reading of what some sources are, as the user says.

    Parameters
    ----------
    slide
        None: by the names that the sources bear, else by the fingerprint of the image's file.
    slides_root
        Where to look for images that are not where a project says.

    Raises
    ------
    UnknownNameError, SourceError
        There is no such annotator, protocol or slide.
    ConflictError
        An image bears the name of one slide, and its file is another one.
    """
    person = find_annotator(session, annotator)
    version = find_protocol(session, protocol)
    return [
        ReadOf(person, version, _slide(session, slide, s, slides_root), replicate) for s in sources
    ]


def _slide(
    session: Session, named: str | None, source: ReadSource, slides_root: Path | None
) -> Slide:
    if named is not None:
        return find_slide(session, named)
    found = slide_of_image(
        session, source.name, source.slide_names, lambda: source.image_path(slides_root)
    )
    if found is not None:
        return found
    tried = ", ".join(repr(name) for name in source.slide_names) or "no name"
    raise SourceError(
        f"{source.name}: no slide is named {tried}; name the slide with --slide, or add it with "
        "`pathquorum slide add PATH`",
        file=source.name,
    )


def within_washout(reading: ReadOf, read_date: date) -> list[str]:
    """A note where a slide was read again before its washout ended: it counts, and is told."""
    assignment = reading.assignment
    if assignment is None or assignment.not_before is None:
        return []
    if read_date >= assignment.not_before:
        return []
    return [
        f"slide {reading.slide.name} was read again by {reading.annotator.handle} on {read_date}, "
        f"before its washout ended on {assignment.not_before}"
    ]
