"""The image of a slide in the store, if it is still the one that was added."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from annotation.errors import RefusedError, SlideError
from annotation.slide_files import fingerprint

__all__ = ["Imaged", "image_of", "unchanged_image"]


class Imaged(Protocol):
    """A slide's name, the path of its image, and the image's fingerprint, as the store has them."""

    @property
    def name(self) -> str: ...  # noqa: D102 - the class says it
    @property
    def path(self) -> str | None: ...  # noqa: D102
    @property
    def fingerprint(self) -> str | None: ...  # noqa: D102


def image_of(slide: Imaged) -> Path:
    """The file that opens a slide.

    Raises
    ------
    SlideError
        The slide was added without an image, or the image is gone.
    """
    if slide.path is None or not Path(slide.path).is_file():
        where = "was added without one" if slide.path is None else f"stood at {slide.path!r}"
        raise SlideError(
            f"slide {slide.name!r} has no image here: it {where}; bring the file there, or make a "
            "release without this slide",
            slide=slide.name,
        )
    return Path(slide.path)


def unchanged_image(slide: Imaged) -> Path:
    """The file that opens a slide, its fingerprint taken again.

    A slide whose hashing was put off has nothing to be held against.

    Raises
    ------
    SlideError
        It has no image.
    RefusedError
        Its files are not those that were added.
    """
    path = image_of(slide)
    if slide.fingerprint is not None and fingerprint(path) != slide.fingerprint:
        raise RefusedError(
            f"slide {slide.name!r} is not the image that was added: its fingerprint differs; bring "
            "the original file back",
            slide=slide.name,
        )
    return path
