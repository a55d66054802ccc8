"""Exports of annotations as GeoJSON: the file, its faults, and the way to its features.

A file is scanned once for where its features begin and end; they stay bytes until their batch is
due, so that memory holds the text and one batch. Every way in which QuPath and its users write
GeoJSON is read: a FeatureCollection, a bare list, a single Feature, a bare geometry; plain or
gzipped.
"""

from __future__ import annotations

import codecs
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import numpy as np

from annotation.errors import NotGeoJSONError, SourceError
from annotation.geojson.reader import BATCH_SIZE, FeatureReader
from annotation.geojson.shapes import SHAPES
from annotation.geojson.text import (
    UnreadableJSONError,
    load_json,
    make_plain,
    substitute_special_numbers,
)
from annotation.records import Batch

__all__ = ["MAX_TEXT_BYTES", "Export", "open_export"]

MAX_TEXT_BYTES = 4 * 1024**3
"""Largest text that is read, once it is decompressed."""

MAX_RATIO = 200
"""Largest ratio of decompression; pretty-printed exports reach 30, a zip bomb 1000."""

_RATIO_FREE_BYTES = 64 * 1024**2
_CHUNK_BYTES = 1024**2
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_IMAGE_NAME_KEYS = ("imageName", "image_name", "image")
_FEATURES_KEY = re.compile(rb'"features"\s*:\s*\Z')


@dataclass(frozen=True, slots=True)
class Export:
    """A file of annotations, opened and scanned; its objects come out in batches.

    Attributes
    ----------
    raw
        The bytes as they are on disk.
    sha256
        Of ``raw``, in hex.
    foreign
        Members of a FeatureCollection beside its features.
    count
        Features at the top level; those below them as children come on top.
    """

    path: Path
    raw: bytes
    sha256: str
    foreign: dict[str, Any]
    count: int
    _features: list[msgspec.Raw] = field(repr=False)
    _substituted: bool = field(repr=False)

    @property
    def image_name(self) -> str | None:
        """The name of the image inside the file, if it gives one."""
        for key in _IMAGE_NAME_KEYS:
            value = self.foreign.get(key)
            if isinstance(value, dict):
                value = value.get("name")
            if isinstance(value, str) and value.strip():
                return value
        return None

    @property
    def image_metadata(self) -> dict[str, str]:
        """QuPath's metadata of the image, as ``pathquorum`` and its scripts export them."""
        metadata = self.foreign.get("metadata")
        if not isinstance(metadata, dict):
            return {}
        return {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in metadata.items()
            if value is not None
        }

    def batches(self, *, batch_size: int = BATCH_SIZE) -> Iterator[Batch]:
        """The objects and rejections in the order of the file, from its beginning."""
        return FeatureReader().read(
            self._features, batch_size=batch_size, substituted=self._substituted
        )


def open_export(path: Path | str, *, max_bytes: int = MAX_TEXT_BYTES) -> Export:
    """Open an export and find its features.

    Parameters
    ----------
    path
        ``.geojson`` or ``.json``, plain or gzipped.
    max_bytes
        Larger texts are refused.

    Raises
    ------
    SourceError
        The file can't be read, is too large, or is compressed beyond all reason.
    NotGeoJSONError
        It is truncated, not JSON, or not GeoJSON.
    """
    path = Path(path)
    raw = _read(path, max_bytes)
    plain = _decompress(raw, path, max_bytes) if raw[:2] == _GZIP else raw
    _check_text(plain, path)
    text = substitute_special_numbers(plain)
    features, foreign = _find_features(text, path)
    return Export(
        path=path,
        raw=raw,
        sha256=sha256(raw).hexdigest(),
        foreign=foreign,
        count=len(features),
        _features=features,
        _substituted=text is not plain,
    )


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        n_bytes = path.stat().st_size
        if n_bytes > max_bytes:
            raise SourceError(
                f"export {str(path)!r} has {n_bytes:,} bytes, more than the {max_bytes:,} allowed; "
                "export fewer objects at a time",
                path=path,
            )
        return path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"export {str(path)!r} can't be read: {error.strerror}; check the path", path=path
        ) from error


def _decompress(raw: bytes, path: Path, max_bytes: int) -> bytearray:
    text = bytearray()
    position = 0
    try:
        # A gzip file may have several members, and zeros behind the last one.
        while position < len(raw) and raw[position]:
            member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
            while not member.eof:
                chunk = member.unconsumed_tail
                if not chunk:
                    chunk = raw[position : position + _CHUNK_BYTES]
                    position += len(chunk)
                if not chunk:
                    _refuse(path, "is truncated: its compressed data end early")
                text += member.decompress(chunk, _CHUNK_BYTES)
                _check_growth(path, len(text), len(raw), max_bytes)
            position -= len(member.unused_data)
    except zlib.error as error:
        _refuse(path, f"is not a sound gzip file ({error})", error)
    return text


def _check_growth(path: Path, n_text: int, n_raw: int, max_bytes: int) -> None:
    if n_text > max_bytes:
        raise SourceError(
            f"export {str(path)!r} decompresses to more than the {max_bytes:,} bytes allowed; "
            "export fewer objects at a time",
            path=path,
        )
    if n_text > _RATIO_FREE_BYTES and n_text > MAX_RATIO * n_raw:
        raise SourceError(
            f"export {str(path)!r} decompresses to more than {MAX_RATIO} times its size; "
            "export it again from QuPath",
            path=path,
        )


def _check_text(text: bytes | bytearray, path: Path) -> None:
    if not text[:_CHUNK_BYTES].strip():
        _refuse(path, "is empty, not JSON")
    if text[:4] == _ZIP:
        _refuse(path, "is a zip archive; unpack it and pull what is inside", next_step="")
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(text)
    for start in range(0, len(text), _CHUNK_BYTES):
        try:
            decoder.decode(view[start : start + _CHUNK_BYTES])
        except UnicodeDecodeError as error:
            _refuse(
                path,
                f"is not UTF-8 (near byte {start + error.start:,})",
                error,
                next_step="convert it, for old versions of QuPath wrote the system's encoding",
            )


def _find_features(text: bytes | bytearray, path: Path) -> tuple[list[msgspec.Raw], dict[str, Any]]:
    body = memoryview(text)
    if text[:3] == codecs.BOM_UTF8:
        body = body[3:]
    try:
        opening = bytes(body[:_CHUNK_BYTES]).lstrip()[:1]
        if opening == b"[":
            features = msgspec.json.decode(body, type=list[msgspec.Raw])
            if features and not any(map(_is_geojson_object, features)):
                _refuse(path, "is JSON, but not GeoJSON: no item of its list is a Feature")
            return features, {}
        if opening == b"{":
            return _find_in_object(body, path)
        msgspec.json.decode(body, type=msgspec.Raw)
    except msgspec.DecodeError as error:
        if "truncated" in str(error):
            _refuse(path, f"is truncated: it ends in the middle, at byte {len(text):,}", error)
        place = re.search(r"\(byte (\d+)\)", str(error))
        where = f" (byte {int(place[1]) + len(text) - len(body):,})" if place else ""
        _refuse(path, f"is not JSON{where}", error)
    except RecursionError as error:
        _refuse(path, "is not GeoJSON: it is nested too deeply", error)
    except UnreadableJSONError as error:
        _refuse(path, f"is not GeoJSON: {error}", error)
    return _refuse(path, "is JSON, but not GeoJSON: neither an object nor a list")


def _find_in_object(body: memoryview, path: Path) -> tuple[list[msgspec.Raw], dict[str, Any]]:
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    kind = _load(members.get("type"))
    features = members.get("features")
    if kind == "Feature" or (isinstance(kind, str) and kind in SHAPES):
        return [msgspec.json.decode(bytes(body).strip(), type=msgspec.Raw)], {}
    if features is None or kind not in ("FeatureCollection", None):
        named = f"its type is {kind[:40]!r}" if isinstance(kind, str) else "it has no features"
        _refuse(path, f"is JSON, but not GeoJSON: {named}")
    try:
        found = msgspec.json.decode(features, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        _refuse(path, "is JSON, but not GeoJSON: its features are no list", error)
    return found, _read_foreign(body, features, path)


def _read_foreign(body: memoryview, features: msgspec.Raw, path: Path) -> dict[str, Any]:
    """The members beside the features; decoding lets the last of two of a name win, so look for both."""
    start = _address(features) - _address(body)
    head = bytes(body[:start])
    key = _FEATURES_KEY.search(head)
    before = head[: key.start()] + b'"":' if key else head
    rest = before + b"null" + bytes(body[start + memoryview(features).nbytes :])
    members = msgspec.json.decode(rest, type=dict[str, msgspec.Raw])
    if key is not None and "features" in members:
        _refuse(path, "is not GeoJSON: it has 'features' twice")
    return {
        name: _load(value)
        for name, value in members.items()
        if name not in ("", "type", "features")
    }


def _address(buffer: msgspec.Raw | memoryview) -> int:
    address: int = np.frombuffer(buffer, dtype=np.uint8).ctypes.data
    return address


def _load(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else make_plain(load_json(raw))


def _is_geojson_object(raw: msgspec.Raw) -> bool:
    try:
        members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        kind = _load(members.get("type"))
    except (msgspec.DecodeError, UnreadableJSONError):
        return False
    return isinstance(kind, str) and (kind == "Feature" or kind in SHAPES)


def _refuse(
    path: Path,
    what: str,
    cause: Exception | None = None,
    *,
    next_step: str = "export it again from QuPath",
) -> NoReturn:
    message = f"export {str(path)!r} {what}"
    raise NotGeoJSONError(f"{message}; {next_step}" if next_step else message, path=path) from cause
