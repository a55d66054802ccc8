"""What makes two outlines, and two objects, the same: digests of 16 bytes.

Frame: level-0 pixels. Everything works on arrays of shapely geometries at once.

Identity of an outline is combinatorial. A ring stands for the cycle of its vertices on QuPath's
0.01 px grid; of all rotations in both directions the lexicographically smallest represents it. That
holds for bow-ties and spikes too, where a normal form by orientation is not unique.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b, sha1
from itertools import pairwise
from typing import TypeAlias

import msgspec
import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from annotation.records import PathObject

__all__ = ["content_digests", "derive_uuid", "geometry_digests"]

Geometries: TypeAlias = NDArray[np.object_]
Coordinates: TypeAlias = NDArray[np.float64]
Places: TypeAlias = NDArray[np.intp]

GRID_PER_PX = 100.0
"""QuPath exports ``getGeometry()`` on a grid of 0.01 px, though it keeps float32 vertices."""

_DIGEST_BYTES = 16
_EMPTY, _POINT, _LINE, _RING, _POLYGON, _COLLECTION = -1, 0, 1, 2, 3, 7

_canonical_json = msgspec.json.Encoder(order="deterministic")


def content_digests(objects: Sequence[PathObject], outline_digests: Sequence[bytes]) -> list[bytes]:
    """Digest of everything in an object that counts as a change when it changes.

    That is its type, name, class as written, outline, nucleus, plane, lock, measurements and
    metadata. It is not its colour, the order of anything, or where it hangs in the hierarchy: the
    parent is compared by itself, for an export often says nothing of it.

    Parameters
    ----------
    objects : length n
    outline_digests : length n
        What :func:`geometry_digests` gives for their geometries.

    Returns
    -------
    list of bytes
        16 bytes each.
    """
    with_nucleus = [i for i, thing in enumerate(objects) if thing.nucleus is not None]
    nuclei: dict[int, bytes] = {}
    if with_nucleus:
        nucleus_array = np.array([objects[i].nucleus for i in with_nucleus], dtype=object)
        nuclei = dict(zip(with_nucleus, geometry_digests(nucleus_array), strict=True))
    encode = _canonical_json.encode
    result = []
    for i, (thing, outline) in enumerate(zip(objects, outline_digests, strict=True)):
        fields = (
            thing.object_type,
            thing.path_class,
            thing.name,
            thing.locked,
            thing.z,
            thing.t,
            thing.c,
            _comparable(thing.measurements),
            thing.extra.get("metadata"),
        )
        # Both outlines have a fixed length, so that no text can pass for one.
        outlines = outline + nuclei.get(i, bytes(_DIGEST_BYTES))
        result.append(_digest(outlines + encode(fields), b"object"))
    return result


def _comparable(measurements: Mapping[str, float | None]) -> Mapping[str, float | str | None]:
    """Measurements for the encoder, which writes NaN and infinities alike as null."""
    for value in measurements.values():
        if value is not None and math.isinf(value):
            return {
                name: str(value) if value is not None and math.isinf(value) else value
                for name, value in measurements.items()
            }
    return measurements


def derive_uuid(namespace: str, content_digest: bytes, ordinal: int) -> str:
    """UUID of an object that has none: the same content at the same place gets the same one.

    Parameters
    ----------
    namespace
        What the object belongs to, such as a slide and an annotator.
    content_digest
        Of the object.
    ordinal
        Tells twins apart: how many objects of the same content stand before this one.
    """
    # That is uuid.uuid5, without an object for each: a million tiles are identified in seconds.
    name = f"{content_digest.hex()}:{ordinal}".encode()
    number = bytearray(sha1(_namespace(namespace) + name, usedforsecurity=False).digest()[:16])
    number[6] = number[6] & 0x0F | 0x50
    number[8] = number[8] & 0x3F | 0x80
    text = number.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@lru_cache(maxsize=16)
def _namespace(text: str) -> bytes:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"pathquorum:{text}").bytes


def geometry_digests(geometries: ArrayLike) -> list[bytes]:
    """Digest of each outline, equal where QuPath would call the outlines the same.

    Invariant under the direction and first vertex of rings, the direction of lines, the order of
    holes and parts, repeated vertices, and rounding to QuPath's grid. A multi-geometry of one part
    is that part.

    Parameters
    ----------
    geometries : shape (n,)

    Returns
    -------
    list of bytes
        16 bytes each.
    """
    array = np.asarray(geometries, dtype=object)
    kinds = shapely.get_type_id(array)
    kinds[shapely.is_empty(array)] = _EMPTY
    result: list[bytes] = [b""] * len(array)
    simple = np.flatnonzero(kinds <= _POLYGON)
    for i, digest in zip(simple.tolist(), _part_digests(array[simple]), strict=True):
        result[i] = digest
    compound = np.flatnonzero((kinds > _POLYGON) & (kinds < _COLLECTION))
    if len(compound):
        parts, owner = shapely.get_parts(array[compound], return_index=True)
        for i, digest in zip(
            compound.tolist(),
            _combine(_part_digests(parts), owner, len(compound), b"parts"),
            strict=True,
        ):
            result[i] = digest
    for i in np.flatnonzero(kinds == _COLLECTION).tolist():
        members = geometry_digests(shapely.get_parts(array[i]))
        result[i] = _digest(b"".join(sorted(members)), b"collection")
    return result


def _digest(data: bytes | memoryview, person: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES, person=person).digest()


def _combine(digests: list[bytes], owner: Places, n_owners: int, person: bytes) -> list[bytes]:
    """One digest per owner; the order of its parts does not matter."""
    ends = np.searchsorted(owner, np.arange(n_owners + 1)).tolist()
    return [
        digests[start]
        if end - start == 1
        else _digest(b"".join(sorted(digests[start:end])), person)
        for start, end in pairwise(ends)
    ]


def _part_digests(parts: Geometries) -> list[bytes]:
    """Digests of points, lines, rings and polygons; empty ones are all alike."""
    kinds = shapely.get_type_id(parts)
    kinds[shapely.is_empty(parts)] = _EMPTY
    result = [_digest(b"", b"empty")] * len(parts)
    places = np.flatnonzero(kinds == _POINT)
    points = _quantise(shapely.get_coordinates(parts[places]))
    for i, data in zip(places.tolist(), points, strict=True):
        result[i] = _digest(data.tobytes(), b"point")
    places = np.flatnonzero((kinds == _LINE) | (kinds == _RING))
    for i, digest in zip(places.tolist(), _line_digests(parts[places]), strict=True):
        result[i] = digest
    places = np.flatnonzero(kinds == _POLYGON)
    for i, digest in zip(places.tolist(), _polygon_digests(parts[places]), strict=True):
        result[i] = digest
    return result


def _polygon_digests(polygons: Geometries) -> list[bytes]:
    rings, owner = shapely.get_rings(polygons, return_index=True)
    digests = _ring_digests(rings)
    ends = np.searchsorted(owner, np.arange(len(polygons) + 1)).tolist()
    return [
        digests[start]
        if end - start == 1
        else _digest(digests[start] + b"".join(sorted(digests[start + 1 : end])), b"polygon")
        for start, end in pairwise(ends)
    ]


def _quantise(xy: Coordinates) -> Coordinates:
    # Java's Math.round, by which QuPath's precision model works: half towards +infinity.
    # Adding zero turns -0.0 into 0.0.
    quantised: Coordinates = np.floor(xy * GRID_PER_PX + 0.5) + 0.0
    return quantised


def _runs(geometries: Geometries, *, cyclic: bool) -> tuple[Coordinates, Places]:
    """Quantised vertices without consecutive repeats, and where each geometry's begin and end.

    Returns
    -------
    xy : shape (n_vertices, 2)
    offsets : shape (n_geometries + 1,)
        Of a cyclic geometry, the vertex that closes it is left out.
    """
    xy, owner = shapely.get_coordinates(geometries, return_index=True)
    xy = _quantise(xy)
    starts = np.searchsorted(owner, np.arange(len(geometries)))
    repeated = np.zeros(len(xy), dtype=bool)
    same = xy[1:] == xy[:-1]
    repeated[1:] = same[:, 0] & same[:, 1]  # ten times as quick as all(axis=1)
    # A ring closes with its first vertex: left out at the start, it still stands at the end.
    repeated[starts] = cyclic
    ends = np.searchsorted(owner, np.arange(len(geometries)), side="right")
    kept = ~repeated
    empty = np.add.reduceat(kept, starts) == 0 if len(starts) else np.zeros(0, dtype=bool)
    kept[ends[empty] - 1] = True
    xy, owner = xy[kept], owner[kept]
    return xy, np.searchsorted(owner, np.arange(len(geometries) + 1))


def _digest_runs(xy: Coordinates, offsets: Places, person: bytes) -> list[bytes]:
    data = np.ascontiguousarray(xy, dtype="<f8").data.cast("B")
    bounds = (offsets * xy.itemsize * 2).tolist()
    return [_digest(data[start:end], person) for start, end in pairwise(bounds)]


def _line_digests(lines: Geometries) -> list[bytes]:
    if not len(lines):
        return []
    xy, offsets = _runs(lines, cyclic=False)
    for start, end in pairwise(offsets.tolist()):
        line = xy[start:end]
        differs = np.flatnonzero((line != line[::-1]).any(axis=1))
        if len(differs) and tuple(line[::-1][differs[0]]) < tuple(line[differs[0]]):
            xy[start:end] = line[::-1].copy()
    return _digest_runs(xy, offsets, b"line")


def _ring_digests(rings: Geometries) -> list[bytes]:
    if not len(rings):
        return []
    xy, offsets = _runs(rings, cyclic=True)
    starts, sizes = offsets[:-1], np.diff(offsets)
    ring_of = np.repeat(np.arange(len(rings)), sizes)
    x, y = xy[:, 0], xy[:, 1]
    leftmost = x == np.minimum.reduceat(x, starts)[ring_of]
    y_leftmost = np.where(leftmost, y, np.inf)
    smallest = leftmost & (y == np.minimum.reduceat(y_leftmost, starts)[ring_of])
    unique = np.add.reduceat(smallest, starts, dtype=np.intp) == 1
    first = np.zeros(len(rings), dtype=np.intp)  # place in its ring; right where unique
    first[ring_of[smallest]] = np.flatnonzero(smallest) - starts[ring_of[smallest]]

    after = xy[starts + (first + 1) % sizes]
    before = xy[starts + (first - 1) % sizes]
    forward = (after[:, 0] < before[:, 0]) | (
        (after[:, 0] == before[:, 0]) & (after[:, 1] < before[:, 1])
    )
    step = np.where(forward, 1, -1)
    ordinal = np.arange(len(xy)) - starts[ring_of]
    # A product of two int arrays per vertex, and no loop over rings.
    source = starts[ring_of] + (first[ring_of] + step[ring_of] * ordinal) % sizes[ring_of]
    canonical = xy[source]
    # A smallest vertex that is met twice, or a spike at it, leaves more than one candidate.
    doubtful = ~unique | ((after == before).all(axis=1) & (sizes > 2))
    for i in np.flatnonzero(doubtful).tolist():
        start, end = offsets[i], offsets[i + 1]
        canonical[start:end] = _smallest_cycle(xy[start:end])
    return _digest_runs(canonical, offsets, b"ring")


def _smallest_cycle(cycle: Coordinates) -> Coordinates:
    """The lexicographically smallest of all rotations of a cycle, in both directions."""
    candidates = []
    for directed in (cycle, cycle[::-1]):
        vertices = list(map(tuple, directed.tolist()))
        candidates.append(np.roll(directed, -_least_rotation(vertices), axis=0))
    one, other = candidates
    differs = np.flatnonzero((one != other).any(axis=1))
    if len(differs) and tuple(other[differs[0]]) < tuple(one[differs[0]]):
        return other
    return one


def _least_rotation(items: Sequence[tuple[float, ...]]) -> int:
    """Where the smallest rotation begins: of two candidates one is ruled out, in linear time."""
    n = len(items)
    i, j, matched = 0, 1, 0
    while i < n and j < n and matched < n:
        a, b = items[(i + matched) % n], items[(j + matched) % n]
        if a == b:
            matched += 1
            continue
        if a > b:
            i += matched + 1
        else:
            j += matched + 1
        if i == j:
            j += 1
        matched = 0
    return min(i, j)
