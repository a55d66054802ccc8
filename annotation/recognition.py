"""Which slide an image is: by its name, or by what its file holds where the name has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import SlideError
from annotation.frames import SlideExtent
from annotation.slides import fingerprint
from annotation.tables import Slide

__all__ = ["extent_of", "slide_of_file", "slide_of_names"]


def slide_of_names(session: Session, names: Sequence[str]) -> Slide | None:
    """The slide that bears the first of some names that a slide bears."""
    found = {s.name: s for s in session.scalars(select(Slide).where(Slide.name.in_(names)))}
    return next((found[name] for name in names if name in found), None)


def slide_of_file(session: Session, path: Path) -> Slide | None:
    """The slide that a file is, by its fingerprint; reads all of the file."""
    if session.scalars(select(Slide.id).where(Slide.fingerprint.is_not(None))).first() is None:
        return None
    try:
        taken = fingerprint(path)
    except (OSError, SlideError):
        return None
    found = session.scalars(select(Slide).where(Slide.fingerprint == taken)).all()
    return found[0] if len(found) == 1 else None


def extent_of(slide: Slide) -> SlideExtent:
    """How large a slide is, and what was scanned of it."""
    bounds = slide.bounds
    return SlideExtent(
        name=slide.name,
        width_px=slide.width_px,
        height_px=slide.height_px,
        mpp=slide.mpp,
        bounds=None if bounds is None else (bounds[0], bounds[1], bounds[2], bounds[3]),
    )
