"""The pixels of a slide while they come in bands: how many of each kind, and a sample of them.

Shapes: K classes, R raters, n pixels of a band.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PatternTally", "PixelSample", "Sampled"]

Codes = NDArray[np.int16]

_LARGEST_CODE = 2**62
_COUNTED_AT_ONCE = 2**22
"""Codes that are counted by a table, which is faster than to sort them."""


class PatternTally:
    """How many pixels the consensus, each rater and the model call what: exact, in few numbers."""

    def __init__(self) -> None:
        self._pixels: dict[tuple[int, ...], int] = {}

    def add(self, columns: Sequence[Codes]) -> None:
        """Pixels by what each says of them: arrays (n,) of classes, -1 where it says nothing."""
        code = np.zeros(len(columns[0]), dtype=np.int64)
        size = 1
        for column in columns:
            base = int(column.max(initial=0)) + 2
            if size * base > _LARGEST_CODE:
                _, code = np.unique(code, return_inverse=True)
                size = int(code.max(initial=0)) + 1
            code = code * base + (column + 1)
            size *= base
        for place, number in zip(*_counted(code, size), strict=True):
            pattern = tuple(int(column[place]) for column in columns)
            self._pixels[pattern] = self._pixels.get(pattern, 0) + number

    def patterns(self, n_columns: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """What is said (m, n_columns), and of how many pixels (m,)."""
        ordered = sorted(self._pixels)
        said = np.array(ordered, dtype=np.int64).reshape(len(ordered), n_columns)
        return said, np.array([self._pixels[pattern] for pattern in ordered], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Sampled:
    """Pixels drawn from all: ``probabilities`` (m, K), ``hard`` (m,), ``stands_for`` (m,) pixels."""

    probabilities: NDArray[np.float64]
    hard: NDArray[np.int64]
    stands_for: NDArray[np.float64]


class PixelSample:
    """Of each class of the consensus as many pixels at most, each as likely as any other of it.

    Parameters
    ----------
    n_classes
        K.
    most
        Pixels of a class.
    rng
        Draws the same pixels for the same bands.
    """

    def __init__(self, n_classes: int, most: int, rng: np.random.Generator) -> None:
        self._most, self._rng = most, rng
        self._seen = np.zeros(n_classes, dtype=np.int64)
        self._drawn = [np.zeros(0) for _ in range(n_classes)]
        self._kept = [np.zeros((0, n_classes), np.float32) for _ in range(n_classes)]

    def add(self, probabilities: NDArray[np.float32], hard: Codes) -> None:
        """Pixels of a band (n, K), whose class (n,) is known.

        Each draws a number; those with the lowest ones stay.
        """
        drawn = self._rng.random(len(hard))
        for number in np.unique(hard).tolist():
            own = np.flatnonzero(hard == number)
            self._seen[number] += len(own)
            both = np.concatenate([self._drawn[number], drawn[own]])
            if len(both) <= self._most:
                stay = np.arange(len(both))
            else:
                stay = np.sort(np.argpartition(both, self._most)[: self._most])
            held = len(self._drawn[number])
            fresh = own[stay[stay >= held] - held]
            self._drawn[number] = both[stay]
            self._kept[number] = np.concatenate(
                [self._kept[number][stay[stay < held]], probabilities[fresh]]
            )

    def taken(self) -> Sampled:
        """The sample, class by class."""
        often = [len(one) for one in self._drawn]
        stands_for = [seen / max(kept, 1) for seen, kept in zip(self._seen, often, strict=True)]
        probabilities = np.concatenate(self._kept).astype(np.float64)
        return Sampled(
            probabilities / probabilities.sum(axis=1, keepdims=True),
            np.repeat(np.arange(len(often)), often).astype(np.int64),
            np.repeat(np.array(stands_for), often),
        )


def _counted(code: NDArray[np.int64], size: int) -> tuple[list[int], list[int]]:
    """Of each code that occurs, below ``size``, a place of it and how often it does."""
    if size > _COUNTED_AT_ONCE:
        _, place, often = np.unique(code, return_index=True, return_counts=True)
        return place.tolist(), often.tolist()
    often = np.bincount(code, minlength=size)
    place = np.zeros(size, dtype=np.int64)
    place[code] = np.arange(len(code))
    held = np.flatnonzero(often)
    return place[held].tolist(), often[held].tolist()
