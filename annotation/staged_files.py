"""Files of objects for QuPath that are written and checked before they take their place.

Objects are taken some thousand at a time and may be any number: of each no more is held than what
tells it apart (:mod:`annotation.object_records`), and outlines wait on disk for the store.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from annotation.collector import collector_paused
from annotation.digests import geometry_digests
from annotation.errors import RefusedError
from annotation.geojson.writer import write_feature_collection
from annotation.geojson.written import read_back
from annotation.geometry import to_wkb
from annotation.object_records import ObjectRecords
from annotation.paths import file_name, inside
from annotation.records import PathObject

__all__ = ["SlideObjects", "StagedFile", "file_sha256", "stage"]

_AT_ONCE = 2_000


@dataclass(frozen=True)
class SlideObjects:
    """What to write for one slide; every object has its UUID.

    ``objects`` may make them as it is walked through. ``metadata`` are entries of the image's
    metadata, under keys that nobody else uses.
    """

    slide_id: int
    slide_name: str
    objects: Sequence[PathObject]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StagedFile:
    """A file that is written and checked, and not yet in its place."""

    path: Path
    temporary: Path
    sha256: str
    slide_id: int
    records: ObjectRecords
    _outlines: _OutlinesOnDisk

    def rows(self, origin: str) -> Iterator[list[dict[str, Any]]]:
        """What is recorded of its objects, some thousand at a time."""
        shared = {
            "origin": origin,
            "slide_id": self.slide_id,
            "target": str(self.path),
            "file_sha256": self.sha256,
        }
        objects = zip(self.records, self._outlines, strict=True)
        while batch := list(islice(objects, _AT_ONCE)):
            yield [
                {
                    "uuid": uuid,
                    "class": path_class,
                    "geometry": wkb,
                    "geometry_digest": digest,
                    **shared,
                }
                for (uuid, path_class, digest), wkb in batch
            ]


class _OutlinesOnDisk:
    """Well-known binaries in a file, in the order in which they came."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sizes = array("Q")

    def write(self, stream: Any, blobs: Sequence[bytes]) -> None:
        stream.write(b"".join(blobs))
        self._sizes.extend(map(len, blobs))

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as stream:
            for size in self._sizes:
                yield stream.read(size)


def stage(folder: Path, hidden: Path, slide: SlideObjects, *, compress: bool) -> StagedFile:
    """Write a slide's file where nobody looks yet, and read it back.

    Raises
    ------
    RefusedError
        It reads back otherwise, or two objects have one UUID.
    """
    path = inside(folder, file_name(slide.slide_name, ".geojson.gz" if compress else ".geojson"))
    temporary = hidden / path.name
    records, place = ObjectRecords(), hidden / f"{path.name}.outlines"
    outlines = _OutlinesOnDisk(place)

    def noted(objects: Iterable[PathObject]) -> Iterator[PathObject]:
        things = iter(objects)
        while batch := list(islice(things, _AT_ONCE)):
            geometries = np.empty(len(batch), dtype=object)
            geometries[:] = [thing.geometry for thing in batch]
            records.add(
                [str(thing.uuid) for thing in batch],
                [thing.path_class for thing in batch],
                geometry_digests(geometries),
            )
            outlines.write(stream, to_wkb(geometries))
            yield from batch

    with place.open("wb") as stream, collector_paused():
        write_feature_collection(
            temporary,
            noted(slide.objects),
            foreign_members={"metadata": dict(slide.metadata)} if slide.metadata else None,
        )
    if records.distinct != len(records) or read_back(temporary) != records:
        raise RefusedError(
            f"what was written for slide {slide.slide_name!r} reads back otherwise, so nothing was "
            f"pushed; check the disk of {folder}",
            slide=slide.slide_name,
        )
    return StagedFile(path, temporary, file_sha256(temporary), slide.slide_id, records, outlines)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
