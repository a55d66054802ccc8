"""What can be pulled: an export, a folder of exports, or a QuPath project.

Each becomes one or more :class:`ReadSource`, and from there on nothing depends on where a read
came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from annotation.errors import SourceError
from annotation.frames import WHOLE_SLIDE, Frame, SlideExtent, frame_of_size
from annotation.geojson.export import open_export
from annotation.records import Batch

__all__ = ["ReadSource", "open_sources"]

EXPORT_SUFFIXES = (".geojson", ".json", ".geojson.gz", ".json.gz")


class ReadSource(Protocol):
    """One read of one slide, as it stands in a file.

    ``slide_names`` are tried in turn; ``raw`` are the bytes that are kept, ``sha256`` theirs;
    ``count`` is 0 only where there is nothing in it; ``knows_parents`` says whether an object
    without a parent has none; ``notes`` are for the person who pulls.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def slide_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def modified(self) -> datetime: ...  # noqa: D102
    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def raw(self) -> bytes: ...  # noqa: D102
    @property
    def count(self) -> int: ...  # noqa: D102
    @property
    def knows_parents(self) -> bool: ...  # noqa: D102
    @property
    def image_metadata(self) -> dict[str, str]: ...  # noqa: D102
    @property
    def notes(self) -> tuple[str, ...]: ...  # noqa: D102

    def image_path(self, slides_root: Path | None) -> Path | None:
        """The image's file, where the source names one that is found on this machine."""

    def placement(self, slide: SlideExtent) -> tuple[Frame, list[str]]:
        """How the source's coordinates lie on a slide, and what is worth telling about it."""

    def batches(self) -> Iterator[Batch]:
        """The objects, some thousand at a time, and what of them can't be read."""


class ExportSource:
    """A GeoJSON export."""

    knows_parents = False
    notes: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        export = open_export(path)
        self._export = export
        self.name = path.name
        self.slide_names = _slide_names(path, export.image_name)
        self._about = _exported(export.foreign)
        self.modified: datetime = self._about.at or datetime.fromtimestamp(
            path.stat().st_mtime, UTC
        )
        self.sha256 = export.sha256
        self.raw = export.raw
        self.count = export.count
        self.image_metadata = export.image_metadata

    def image_path(self, slides_root: Path | None) -> Path | None:
        """None: an export names no file."""
        return None

    def placement(self, slide: SlideExtent) -> tuple[Frame, list[str]]:
        """By the size of the image where our own script has written it; else as it stands."""
        if self._about.size_px is not None:
            return frame_of_size(self.name, self._about.size_px, slide), []
        if slide.bounds in (None, (0, 0, slide.width_px, slide.height_px)):
            return WHOLE_SLIDE, []
        x, y = slide.bounds[:2] if slide.bounds is not None else (0, 0)
        return WHOLE_SLIDE, [
            f"{self.name}: QuPath's OpenSlide reader shows of slide {slide.name!r} only what was "
            f"scanned, from x {x}, y {y} on, and an export doesn't say so: it was taken as drawn on "
            "the whole slide; pull the project instead"
        ]

    def batches(self) -> Iterator[Batch]:
        """The features of the export."""
        return self._export.batches()


@dataclass(frozen=True)
class _Exported:
    """What our script for QuPath says of an export: of when it is, and of how large an image.

    ``at`` is when the image was last saved, which is when it was read, as a project says too; where
    the script doesn't say (older ones, unsaved work), it is when the export was made.
    """

    at: datetime | None = None
    size_px: tuple[int, int] | None = None


def _exported(foreign: Mapping[str, Any]) -> _Exported:
    told = foreign.get("pathquorum")
    if not isinstance(told, dict):
        return _Exported()
    at = _moment(told.get("saved_at")) or _moment(told.get("exported_at"))
    width, height = told.get("width_px"), told.get("height_px")
    sound = all(type(side) is int and side > 0 for side in (width, height))
    return _Exported(at, (int(str(width)), int(str(height))) if sound else None)


def _moment(told: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(str(told))
    except ValueError:
        return None
    return None if moment.tzinfo is None else moment


def open_sources(path: Path, *, label_key: str | None = None) -> list[ReadSource]:
    """Open what the user named.

    Parameters
    ----------
    label_key
        Where slides are rated by a label: its key in the image's metadata, so that an image of a
        project which was labelled but never saved is a read too.

    Raises
    ------
    SourceError
        Nothing is there, or nothing that can be pulled.
    QuPathMissingError
        It is a project, and no QuPath is found.
    """
    if not path.exists():
        raise SourceError(f"there is no {path}; name a GeoJSON export or a project.qpproj")
    if path.is_dir():
        project = path / "project.qpproj"
        if project.exists():
            return _project(project, label_key)
        exports = sorted(p for p in path.iterdir() if p.name.lower().endswith(EXPORT_SUFFIXES))
        if not exports:
            raise SourceError(f"the folder {path} holds no GeoJSON export and no project.qpproj")
        return [ExportSource(export) for export in exports]
    if path.suffix.lower() == ".qpproj":
        return _project(path, label_key)
    return [ExportSource(path)]


def _project(path: Path, label_key: str | None) -> list[ReadSource]:
    from annotation.qupath import open_project

    return list(open_project(path, label_key=label_key))


def _slide_names(path: Path, image_name: str | None) -> tuple[str, ...]:
    """The names to look for among the slides: the file's stem first, then the image's name."""
    stem = path.name
    for suffix in (".gz", ".json", ".geojson"):
        stem = stem[: -len(suffix)] if stem.lower().endswith(suffix) else stem
    names = [stem, image_stem(stem)]
    if image_name:
        names += [image_name, image_stem(image_name)]
    return tuple(dict.fromkeys(name for name in names if name))


def image_stem(name: str) -> str:
    """An image's name without its folder and extension: ``case 1.ome.tif - Series 0`` is as QuPath
    writes it, ``case 1.ome`` what the slide is called."""
    return Path(name.split(" - ")[0].replace("\\", "/")).stem
