"""The files of a prediction run, as they are on record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation.staged_files import file_sha256
from models.errors import TileError
from models.prediction.slide_work import regions_path, slide_path

__all__ = ["DoneSlide", "check_files"]


@dataclass(frozen=True)
class DoneSlide:
    """A slide that was predicted.

    Attributes
    ----------
    result
        Its scores, as the store has them.
    output_sha256, regions_sha256
        Of its two files; None where there is none.
    """

    id: int
    name: str
    folder: Path
    result: dict[str, Any]
    output_sha256: str | None
    regions_sha256: str | None

    @property
    def tiles_path(self) -> Path:
        """The prediction file."""
        return slide_path(self.folder, self.name)

    @property
    def regions_path(self) -> Path:
        """The region file."""
        return regions_path(self.folder, self.name)


def check_files(slides: list[DoneSlide]) -> None:
    """See that all files are those that were predicted.

    Raises
    ------
    TileError
        One is gone or is another.
    """
    for slide in slides:
        expected = (
            (slide.tiles_path, slide.output_sha256),
            (slide.regions_path, slide.regions_sha256),
        )
        for path, sha256 in expected:
            if sha256 is None:
                continue
            try:
                found = file_sha256(path)
            except OSError as error:
                raise _unusable(slide, path, f"can't be read ({error.strerror})") from error
            if found != sha256:
                raise _unusable(
                    slide, path, "is not the file that was predicted (its SHA-256 differs)"
                )


def _unusable(slide: DoneSlide, path: Path, what: str) -> TileError:
    return TileError(
        f"{path}, of slide {slide.name!r}, {what}, so nothing was pushed; put it back, or predict "
        "into another folder",
        path=path,
    )
