"""Where the tiles of a slide lie, in level-0 pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotation.slides import SlideRecord
from models.errors import TileError
from models.reading.plan import plan_reading
from models.tiling.mask import TissueMask
from models.tiling.settings import EdgePolicy, TileSettings

__all__ = ["TileGrid", "lay_around", "lay_grid"]

Floats = NDArray[np.float64]

_MOST_TILES = 20_000_000


@dataclass(frozen=True, slots=True, eq=False)
class TileGrid:
    """The tiles of one slide that hold tissue, row by row.

    Attributes
    ----------
    slide, fingerprint
        The slide's name, and its fingerprint where it was made.
    width_px, height_px, mpp
        The slide's size and microns per pixel at level 0.
    settings
        How the tiles were chosen and are read.
    side_px
        Level-0 pixels that a tile covers, along one side.
    level, resampling
        What is read for them, and what happens to it; see `ReadingPlan`.
    x_px, y_px : shape (n_tiles,)
        Upper left corners in level-0 pixels.
    tissue_share : shape (n_tiles,)
        Which part of each tile is tissue, 0 to 1.
    n_candidates
        How many tiles there were before those without tissue were left out.
    """

    slide: str
    fingerprint: str | None
    width_px: int
    height_px: int
    mpp: float
    settings: TileSettings
    side_px: float
    level: int
    resampling: str
    x_px: Floats
    y_px: Floats
    tissue_share: NDArray[np.float32]
    n_candidates: int

    def __len__(self) -> int:
        return len(self.x_px)


def lay_grid(
    slide: SlideRecord, settings: TileSettings, mask: TissueMask | None = None
) -> TileGrid:
    """Lay tiles over a slide, and keep those that are tissue enough.

    The grid begins at the upper left corner of the slide, or of what was scanned of it
    (`SlideRecord.bounds`), and ends with that.

    Parameters
    ----------
    mask
        Where the tissue is, from `find_tissue`. None keeps all tiles, as tissue throughout.

    Raises
    ------
    InputError
        The slide is too coarse for these tiles.
    TileError
        The slide would have more than 20 million tiles.
    """
    plan = plan_reading(slide, mpp=settings.mpp, size_px=settings.size_px)
    side = plan.side_px
    stride = side * settings.stride_px / settings.size_px
    left, top, width, height = slide.bounds or (0, 0, slide.width_px, slide.height_px)
    count = math.ceil(width / stride + 1) * math.ceil(height / stride + 1)
    if count > _MOST_TILES:
        raise TileError(
            f"slide {slide.name!r} would have about {count:,} tiles; ask for larger ones, or for "
            "less overlap",
            slide=slide.name,
        )
    columns = left + _corners(width, side, stride, settings.edge)
    rows = top + _corners(height, side, stride, settings.edge)
    x, y = (each.ravel() for each in np.meshgrid(columns, rows))
    if mask is None:
        share, kept = np.ones(x.size), np.ones(x.size, np.bool_)
    else:
        share = mask.share(x, y, side)
        # A tile without any tissue is none, whatever share is asked for.
        kept = (share >= settings.tissue.min_share) & (share > 0)
    return TileGrid(
        slide=slide.name,
        fingerprint=slide.fingerprint,
        width_px=slide.width_px,
        height_px=slide.height_px,
        mpp=slide.mpp,
        settings=settings,
        side_px=side,
        level=plan.level,
        resampling=plan.resampling,
        x_px=x[kept],
        y_px=y[kept],
        tissue_share=share[kept].astype(np.float32),
        n_candidates=x.size,
    )


def lay_around(slide: SlideRecord, settings: TileSettings, centres: Floats) -> TileGrid:
    """A tile around each of some places, tissue or not; it may reach beyond the slide.

    Parameters
    ----------
    centres : shape (n, 2)
        Middles of the tiles, in level-0 pixels.

    Raises
    ------
    InputError
        The slide is too coarse for these tiles.
    """
    plan = plan_reading(slide, mpp=settings.mpp, size_px=settings.size_px)
    return TileGrid(
        slide=slide.name,
        fingerprint=slide.fingerprint,
        width_px=slide.width_px,
        height_px=slide.height_px,
        mpp=slide.mpp,
        settings=settings,
        side_px=plan.side_px,
        level=plan.level,
        resampling=plan.resampling,
        x_px=centres[:, 0] - plan.side_px / 2,
        y_px=centres[:, 1] - plan.side_px / 2,
        tissue_share=np.ones(len(centres), dtype=np.float32),
        n_candidates=len(centres),
    )


def _corners(extent: float, side: float, stride: float, edge: EdgePolicy) -> Floats:
    """Return where tiles begin along one axis of a given length."""
    # A whole number of strides stays whole where division left a rounding error.
    beyond = (extent - side) / stride
    whole = round(beyond) if math.isclose(beyond, round(beyond), abs_tol=1e-9) else beyond
    if edge == "drop":
        return np.arange(max(0, math.floor(whole) + 1), dtype=np.float64) * stride
    corners = np.arange(max(0, math.ceil(whole)) + 1, dtype=np.float64) * stride
    if edge == "shift":
        corners[-1] = max(0.0, min(corners[-1], extent - side))
    return corners
