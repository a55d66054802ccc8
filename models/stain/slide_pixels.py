"""Pixels of a slide's tissue, from tiles all over it: what its stains are estimated from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import StainError, TileError
from models.reader import Reader
from models.tiling.grid import TileGrid

__all__ = ["tissue_pixels"]

TILES = 50
PIXELS = 200_000


def tissue_pixels(
    reader: Reader, grid: TileGrid, *, seed: int = 0, allow_missing: bool = False
) -> NDArray[np.uint8]:
    """Up to 200,000 pixels of up to 50 tiles, (n, 3); the same seed gives the same ones.

    Parameters
    ----------
    reader
        Of the slide that the grid lies on.
    allow_missing
        Pass over tiles that can't be read.

    Raises
    ------
    StainError
        The grid has no tile.
    TileError
        One of the tiles can't be read.
    """
    if not len(grid):
        raise StainError(
            f"slide {grid.slide!r} has no tile with tissue, so its stains are unknown; loosen the "
            "tissue settings",
            slide=grid.slide,
        )
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(len(grid), min(TILES, len(grid)), replace=False))
    settings = grid.settings
    parts = [np.empty((0, 3), np.uint8)]
    for x_px, y_px in zip(grid.x_px[chosen].tolist(), grid.y_px[chosen].tolist(), strict=True):
        try:
            tile = reader.read(x_px, y_px, mpp=settings.mpp, size_px=settings.size_px)
        except TileError:
            if not allow_missing:
                raise
            continue
        tile = tile.reshape(-1, 3)
        take = min(len(tile), PIXELS // len(chosen))
        parts.append(tile[rng.choice(len(tile), take, replace=False)])
    return np.concatenate(parts)
