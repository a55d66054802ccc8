"""A mask over a slide, and what part of each tile it covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["TissueMask"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TissueMask:
    """Where a slide is tissue, at a coarse resolution.

    Attributes
    ----------
    tissue : shape (height, width)
        True where there is tissue that is neither under a pen mark nor blurred.
    pen, blurred : shape (height, width)
        What was left out, and why.
    x_px, y_px
        Where the mask begins, in level-0 pixels.
    cell_px
        Level-0 pixels that one of its cells covers, along one side.
    """

    tissue: NDArray[np.bool_]
    pen: NDArray[np.bool_]
    blurred: NDArray[np.bool_]
    x_px: float
    y_px: float
    cell_px: float

    def share(self, x_px: Floats, y_px: Floats, side_px: float) -> Floats:
        """Return which part of each square is tissue, cells counted by the area that lies in it.

        Parameters
        ----------
        x_px, y_px : shape (n_tiles,)
            Upper left corners in level-0 pixels; what lies beyond the mask is no tissue.
        """
        height, width = self.tissue.shape
        below = np.zeros((height + 1, width + 1))  # cells above and to the left of each corner
        below[1:, 1:] = self.tissue.cumsum(axis=0).cumsum(axis=1)

        def area(x: Floats, y: Floats) -> Floats:
            """Tissue above and to the left of points: between corners it grows bilinearly."""
            x, y = np.clip(x, 0, width), np.clip(y, 0, height)
            column = np.minimum(x.astype(np.int64), width - 1)
            row = np.minimum(y.astype(np.int64), height - 1)
            u, v = x - column, y - row
            return np.asarray(
                (below[row, column] * (1 - u) + below[row, column + 1] * u) * (1 - v)
                + (below[row + 1, column] * (1 - u) + below[row + 1, column + 1] * u) * v
            )

        left, top = (x_px - self.x_px) / self.cell_px, (y_px - self.y_px) / self.cell_px
        side = side_px / self.cell_px
        right, bottom = left + side, top + side
        inside = area(right, bottom) - area(left, bottom) - area(right, top) + area(left, top)
        return np.clip(inside / side**2, 0.0, 1.0)
