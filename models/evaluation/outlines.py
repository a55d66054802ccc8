"""The outlines of classes on a picture that comes in bands, row by row from the top.

A pixel is of its class's outline where a neighbour along its row or column is known and of another
class. What borders on the unknown alone, or on the picture's edge, is none: nobody has said that
the class ends there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.targets import OPEN

__all__ = ["MOST_OUTLINE_PX", "OutlineTrace"]

MOST_OUTLINE_PX = 5_000_000
"""Of a class: 10 m at 2 um. Of a longer outline nothing is kept."""

Codes = NDArray[np.int16]
Points = NDArray[np.int32]


class OutlineTrace:
    """Traces all classes at once, and holds two rows of the picture.

    Parameters
    ----------
    n_classes
        K.
    width_px
        Of the picture.
    """

    def __init__(self, n_classes: int, width_px: int) -> None:
        self._found: list[list[Points] | None] = [[] for _ in range(n_classes)]
        self._held = np.full((1, width_px), OPEN, dtype=np.int16)
        self._top_px = -1  # of the rows that are held

    def add(self, codes: Codes) -> None:
        """The next rows (h, w): the class of each pixel, or -1 where it is not known."""
        rows = np.concatenate([self._held, codes])
        if len(rows) > 2:
            self._take(rows)
        last = rows[-2:]
        self._top_px += len(rows) - len(last)
        self._held = last

    def points(self) -> list[Points | None]:
        """Row and column of each outline's pixels (n, 2), class by class; nothing comes after.

        None where there are more than `MOST_OUTLINE_PX`.
        """
        self._take(np.concatenate([self._held, np.full_like(self._held[:1], OPEN)]))
        return [
            None if parts is None else np.concatenate([np.zeros((0, 2), np.int32), *parts])
            for parts in self._found
        ]

    def _take(self, rows: Codes) -> None:
        """Note the outlines in all rows but the first and the last, which need a neighbour more."""
        if not (rows != OPEN).any():
            return
        edge = np.zeros(rows.shape, dtype=np.bool_)
        across = _differ(rows[:, :-1], rows[:, 1:])
        edge[:, :-1] |= across
        edge[:, 1:] |= across
        down = _differ(rows[:-1], rows[1:])
        edge[:-1] |= down
        edge[1:] |= down
        row, column = np.nonzero(edge[1:-1])
        of_class = rows[1:-1][row, column]
        places = np.column_stack([row + self._top_px + 1, column]).astype(np.int32)
        for number, parts in enumerate(self._found):
            own = places[of_class == number]
            if parts is None or not len(own):
                continue
            parts.append(own)
            if sum(map(len, parts)) > MOST_OUTLINE_PX:
                self._found[number] = None


def _differ(one: Codes, other: Codes) -> NDArray[np.bool_]:
    """Where both are known and of two classes."""
    apart: NDArray[np.bool_] = (one != other) & (one != OPEN) & (other != OPEN)
    return apart
