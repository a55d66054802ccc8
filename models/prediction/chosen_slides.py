"""Which slides are meant: names, files, folders, a part of a release, or all of the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.errors import InputError
from annotation.paths import inside
from annotation.slides import fingerprint
from annotation.tables import Slide
from models.datasets.releases import open_training_release
from models.slide_paths import slide_paths

__all__ = ["ChosenSlides", "all_slides", "below", "named_slides", "of_release"]


@dataclass(frozen=True)
class ChosenSlides:
    """Slides of the store.

    Attributes
    ----------
    ids
        Their keys, in order and each once.
    places
        Where images lie, by key, of those that lie elsewhere than the store says.
    """

    ids: tuple[int, ...]
    places: dict[int, str]


def named_slides(
    session: Session, given: Sequence[str], say: Callable[[str], None] = lambda _: None
) -> ChosenSlides:
    """Slides by their names, or by files and folders, which are known by their fingerprints.

    Parameters
    ----------
    say
        Told before a file is read as a whole.

    Raises
    ------
    InputError
        One is not in the store.
    """
    rows = session.scalars(select(Slide).order_by(Slide.id)).all()
    by_name = {row.name: row for row in rows}
    by_path = {str(Path(row.path).resolve()): row for row in rows if row.path is not None}
    by_fingerprint = {row.fingerprint: row for row in rows if row.fingerprint is not None}
    places: dict[int, str] = {}
    found: dict[int, None] = {}
    for text in given:
        if text in by_name:
            found[by_name[text].id] = None
            continue
        for file in _files(text):
            row = by_path.get(str(file.resolve()))
            if row is None:
                say(f"reading {file.name} to know which slide it is")
                row = by_fingerprint.get(fingerprint(file))
                if row is None:
                    raise InputError(
                        f"the slide {str(file)!r} is not in the store; add it with `pathquorum "
                        f"slide add {file}`",
                        path=file,
                    )
                places[row.id] = str(file.resolve())
            found[row.id] = None
    return ChosenSlides(tuple(found), places)


def of_release(session: Session, release: str, part: str | None) -> ChosenSlides:
    """The slides of a release, or of a part of its split.

    Raises
    ------
    InputError
        The release has no such part.
    """
    slides = open_training_release(session, release).slides
    parts = sorted({slide.part for slide in slides})
    if part is not None and part not in parts:
        raise InputError(
            f"release {release!r} has no part {part!r}; it has {', '.join(parts)}", part=part
        )
    names = {slide.name for slide in slides if part in (None, slide.part)}
    rows = session.execute(select(Slide.id, Slide.name).order_by(Slide.id))
    return ChosenSlides(tuple(key for key, name in rows if name in names), {})


def all_slides(session: Session) -> ChosenSlides:
    """Every slide of the store.

    Raises
    ------
    InputError
        There is none.
    """
    found = tuple(session.scalars(select(Slide.id).order_by(Slide.id)))
    if not found:
        raise InputError("the store has no slides; add some with `pathquorum slide add PATH`")
    return ChosenSlides(found, {})


def below(session: Session, chosen: ChosenSlides, folder: Path) -> ChosenSlides:
    """The same slides, their images in a folder, under the names of their files.

    What was found elsewhere by its fingerprint stays there.
    """
    wanted = set(chosen.ids)
    rows = session.execute(select(Slide.id, Slide.path))
    moved = {
        key: str(inside(folder, Path(path).name))
        for key, path in rows
        if key in wanted and path is not None
    }
    return ChosenSlides(chosen.ids, {**moved, **chosen.places})


def _files(text: str) -> list[Path]:
    path = Path(text)
    if not path.exists():
        raise InputError(
            f"{text!r} is neither a slide of the store nor a file or folder; add slides with "
            "`pathquorum slide add PATH`, see them with `pathquorum slide list`",
            slide=text,
        )
    return slide_paths(path)
