"""Reading back what :mod:`annotation.geojson.writer` wrote, some megabytes at a time.

The writer puts each feature on a line of its own, so that a file of any size can be looked through
in little memory. Only what tells whether the file holds what it should is taken: which object, its
class and its outline.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from annotation.collector import collector_paused
from annotation.digests import geometry_digests
from annotation.geojson.shapes import Shape, build_geometries
from annotation.object_records import ObjectRecords

__all__ = ["read_back"]

_AT_ONCE_BYTES = 1_000_000


class _Classification(msgspec.Struct, gc=False):
    name: str


class _Properties(msgspec.Struct, gc=False):
    classification: _Classification | None = None


class _Feature(msgspec.Struct, gc=False):
    id: str
    geometry: Shape
    properties: _Properties


_decoder = msgspec.json.Decoder(list[_Feature])


def read_back(path: Path) -> ObjectRecords | None:
    """The objects of a file that was just written; None where it is not what the writer writes."""
    records = ObjectRecords()
    try:
        with _opened(path) as stream, collector_paused():
            msgspec.json.decode(stream.readline() + b"]}")
            for features in _lines(stream):
                geometries, faults = build_geometries([one.geometry for one in features])
                if faults:
                    return None
                records.add(
                    [one.id for one in features],
                    [_class_of(one.properties) for one in features],
                    geometry_digests(geometries),
                )
    except (EOFError, OSError, ValueError, zlib.error):  # msgspec's are ValueErrors
        return None
    return records


def _opened(path: Path) -> BinaryIO | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _lines(stream: BinaryIO | gzip.GzipFile) -> Iterator[list[_Feature]]:
    ended = False
    while lines := stream.readlines(_AT_ONCE_BYTES):
        if ended:
            raise ValueError("something follows the end")
        ended = lines[-1] == b"]}\n"
        text = b"".join(lines[:-1] if ended else lines)
        yield _decoder.decode(b"[" + text.rstrip(b",\n") + b"]")
    if not ended:
        raise ValueError("it has no end")


def _class_of(properties: _Properties) -> str | None:
    return None if properties.classification is None else properties.classification.name
