"""Files of objects for QuPath that are written and checked before they take their place."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation.digests import geometry_digests
from annotation.errors import RefusedError
from annotation.geojson.export import open_export
from annotation.geojson.writer import write_feature_collection
from annotation.geometry import to_wkb
from annotation.paths import file_name, inside
from annotation.records import PathObject

__all__ = ["SlideObjects", "StagedFile", "file_sha256", "stage"]


@dataclass(frozen=True)
class SlideObjects:
    """What to write for one slide; every object has its UUID."""

    slide_id: int
    slide_name: str
    objects: list[PathObject]


@dataclass(frozen=True)
class StagedFile:
    """A file that is written and checked, and not yet in its place."""

    path: Path
    temporary: Path
    sha256: str
    rows: list[dict[str, Any]]

    @property
    def content(self) -> dict[str, tuple[str | None, bytes]]:
        """Class and outline of each object, by UUID."""
        return {row["uuid"]: (row["path_class"], row["geometry_digest"]) for row in self.rows}


def stage(folder: Path, hidden: Path, origin: str, slide: SlideObjects) -> StagedFile:
    """Write a slide's file where nobody looks yet, and read it back."""
    path = inside(folder, file_name(slide.slide_name, ".geojson"))
    temporary = hidden / path.name
    write_feature_collection(temporary, slide.objects)
    sha256 = file_sha256(temporary)
    outlines = [thing.geometry for thing in slide.objects]
    rows = [
        {
            "uuid": thing.uuid,
            "origin": origin,
            "slide_id": slide.slide_id,
            "target": str(path),
            "path_class": thing.path_class,
            "geometry": wkb,
            "geometry_digest": digest,
            "file_sha256": sha256,
        }
        for thing, wkb, digest in zip(
            slide.objects, to_wkb(outlines), geometry_digests(outlines), strict=True
        )
    ]
    staged = StagedFile(path, temporary, sha256, rows)
    if len(staged.content) != len(rows) or _read_back(temporary) != staged.content:
        raise RefusedError(
            f"what was written for slide {slide.slide_name!r} reads back otherwise, so nothing was "
            f"pushed; check the disk of {folder}",
            slide=slide.slide_name,
        )
    return staged


def _read_back(path: Path) -> dict[str, tuple[str | None, bytes]] | None:
    """What a pull would see in a file; None where it would reject anything."""
    seen: dict[str, tuple[str | None, bytes]] = {}
    for batch in open_export(path).batches():
        if batch.rejections:
            return None
        for thing, digest in zip(batch.objects, batch.geometry_digests, strict=True):
            seen[str(thing.uuid)] = (thing.path_class, digest)
    return seen


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
