"""What is compared of many objects: which one, its class and its outline, in few bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

__all__ = ["ObjectRecords"]

_UUID_BYTES = _DIGEST_BYTES = 16


class ObjectRecords:
    """UUID, class and digest of the outline of objects, in their order; a million take 36 MB."""

    def __init__(self) -> None:
        self._uuids = bytearray()
        self._digests = bytearray()
        self._classes = array("i")
        self._names: dict[str | None, int] = {}

    def add(
        self, uuids: Iterable[str], path_classes: Iterable[str | None], digests: Iterable[bytes]
    ) -> None:
        """Take objects, given by equally long columns.

        Raises
        ------
        ValueError
            A UUID is none.
        """
        self._uuids += bytes.fromhex("".join(uuids).replace("-", ""))
        self._digests += b"".join(digests)
        names = self._names
        self._classes.extend([names.setdefault(name, len(names)) for name in path_classes])
        if not len(self._uuids) == len(self._digests) == _UUID_BYTES * len(self):
            raise ValueError("columns of other lengths, or what is no UUID")

    def __len__(self) -> int:
        return len(self._classes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectRecords):
            return NotImplemented
        return (
            self._uuids == other._uuids
            and self._digests == other._digests
            and self._classes == other._classes
            and list(self._names) == list(other._names)
        )

    def __iter__(self) -> Iterator[tuple[str, str | None, bytes]]:
        names: Sequence[str | None] = list(self._names)
        for i, name in enumerate(self._classes):
            begin, end = i * _UUID_BYTES, (i + 1) * _UUID_BYTES
            text = self._uuids[begin:end].hex()
            uuid = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
            yield uuid, names[name], bytes(self._digests[begin:end])

    @property
    def distinct(self) -> int:
        """How many UUIDs there are."""
        halves = np.frombuffer(self._uuids, dtype=[("high", ">u8"), ("low", ">u8")])
        order = np.lexsort((halves["low"], halves["high"]))
        high, low = halves["high"][order], halves["low"][order]
        return len(self) - int(np.sum((high[1:] == high[:-1]) & (low[1:] == low[:-1])))
