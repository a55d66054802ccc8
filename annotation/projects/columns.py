"""QuPath objects as columns of numbers: how they cross between our process and QuPath's.

A hundred thousand objects are a handful of arrays, which costs as much to send as their bytes, and
no interpreter walks through their vertices.

Shapes: n objects, m measurements, k texts of metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from annotation.errors import SourceError

__all__ = ["ARRAYS", "KINDS", "ObjectColumns", "Shape"]

KINDS = ("annotation", "detection", "cell", "tile", "tma_core")
"""Object types by their number in ``kind``."""

LOCKED, COLORED, MISSING = 1, 2, 4
"""Bits of ``flags``: locked, with a colour of its own, a TMA core that is missing."""


class Shape:
    """Numbers of QuPath's kinds of ROI, in ``shape`` and ``nucleus_shape``."""

    POLYGON, RECTANGLE, ELLIPSE, LINE, POLYLINE, POINTS, OTHER = range(7)


ARRAYS: dict[str, str] = {
    "uuid": ">i8",
    "parent": ">i8",
    "kind": "i1",
    "flags": "i1",
    "shape": "i1",
    "nucleus_shape": "i1",
    "path_class": "<i4",
    "name": "<i4",
    "color": "<i4",
    "z": "<i4",
    "t": "<i4",
    "c": "<i4",
    "measurement_end": "<i4",
    "metadata_end": "<i4",
    "outline_end": "<i8",
    "nucleus_end": "<i8",
    "wkb": "u1",
    "measurement_name": "<i4",
    "measurement": "<f8",
    "metadata": "<i4",
}
"""The arrays in the order in which they are sent, with their types there."""


@dataclass(frozen=True)
class ObjectColumns:
    """Objects of one image, parents before their children.

    Attributes
    ----------
    arrays
        By the names of ``ARRAYS``. ``uuid`` and ``parent`` (2 n,) hold two halves each, a parent
        of zeros is none. ``path_class`` (n,) is an index of ``class_names``, ``name`` (n,) one of
        ``texts``, -1 for none. ``color`` (n,) is packed ARGB. ``wkb`` holds outline and nucleus of
        each object in turn: the outline of object i ends at ``outline_end[i]``, its nucleus at
        ``nucleus_end[i]``. Its measurements end at ``measurement_end[i]`` in ``measurement_name``
        and ``measurement`` (m,), its metadata, keys and values in turn, at ``metadata_end[i]`` in
        ``metadata`` (k,).
    class_colors
        Packed ARGB of each class, None where it has none.
    rejected
        UUIDs of objects that could not be read, and why.
    """

    n: int
    arrays: Mapping[str, NDArray[Any]]
    texts: Sequence[str] = ()
    class_names: Sequence[str] = ()
    class_colors: Sequence[int | None] = ()
    rejected: Sequence[tuple[str, str]] = field(default=())

    def header(self) -> dict[str, Any]:
        """What is sent before the arrays, as JSON."""
        return {
            "n": self.n,
            "lengths": [len(self.arrays[name]) for name in ARRAYS],
            "texts": list(self.texts),
            "class_names": list(self.class_names),
            "class_colors": list(self.class_colors),
            "rejected": [list(entry) for entry in self.rejected],
        }

    def payload(self) -> list[memoryview]:
        """The bytes of the arrays, in their order."""
        return [
            np.ascontiguousarray(self.arrays[name], dtype=kind).view(np.uint8).data
            for name, kind in ARRAYS.items()
        ]

    @classmethod
    def received(cls, header: Mapping[str, Any], payload: bytes | memoryview) -> ObjectColumns:
        """Undo :meth:`header` and :meth:`payload`.

        Raises
        ------
        SourceError
            The bytes are not as many as the header says.
        """
        arrays: dict[str, NDArray[Any]] = {}
        start = 0
        for (name, kind), length in zip(ARRAYS.items(), header["lengths"], strict=True):
            size = length * np.dtype(kind).itemsize
            if start + size > len(payload):
                raise SourceError("QuPath's answer was cut short; try again")
            arrays[name] = np.frombuffer(payload, dtype=kind, count=length, offset=start)
            start += size
        return cls(
            n=header["n"],
            arrays=arrays,
            texts=header["texts"],
            class_names=header["class_names"],
            class_colors=header["class_colors"],
            rejected=[(uuid, reason) for uuid, reason in header["rejected"]],
        )
