"""Which slide an image is: by its name, or by what its file holds where the name has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import ConflictError, SlideError
from annotation.frames import SlideExtent
from annotation.slides import fingerprint
from annotation.tables import Slide

__all__ = ["extent_of", "slide_of_file", "slide_of_image", "slide_of_names"]


def slide_of_image(
    session: Session, what: str, names: Sequence[str], find: Callable[[], Path | None]
) -> Slide | None:
    """The slide that an image is: by its names, and by its file where that is found.

    Parameters
    ----------
    what
        The image, as a message names it.
    find
        Looks for the image's file. One that lies where the slide was added from is not read again.

    Raises
    ------
    ConflictError
        The image bears the name of one slide, and its file is another one.
    """
    named = slide_of_names(session, names)
    path = find()
    if path is None or (named is not None and _was_added_from(named, path)):
        return named
    held = slide_of_file(session, path)
    if named is not None and held is not None and held is not named:
        raise ConflictError(
            f"{what} bears the name of slide {named.name!r}, but its file {str(path)!r} is slide "
            f"{held.name!r} by its fingerprint; give the image its right name in QuPath, or the right "
            "file",
            named=named.name,
            held=held.name,
        )
    return named or held


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


def _was_added_from(slide: Slide, path: Path) -> bool:
    return slide.path is not None and Path(slide.path).resolve() == path.resolve()


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
