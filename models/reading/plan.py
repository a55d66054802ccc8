"""At which level a tile is read, and how its pixels come to the wanted microns per pixel."""

from __future__ import annotations

import math
from dataclasses import dataclass

from annotation.errors import InputError
from annotation.slides import SlideRecord

__all__ = ["LARGEST_SIZE_PX", "ReadingPlan", "plan_reading", "whole_downsample"]

LARGEST_SIZE_PX = 8192
_FINEST = 0.5  # a slide's pixels are enlarged no more than twice
_REDUCING_GAP = 2  # what is left to resample after whole pixels were averaged: at least this much


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """How tiles of one size and one resolution are read from one slide.

    Attributes
    ----------
    size_px
        Side of the tile that is returned.
    level, downsample
        The level that is read: the coarsest that is at least as fine as what is wanted; and how
        many level-0 pixels one of its pixels covers.
    reduction
        Blocks of so many by so many pixels of the level are averaged (half up) into one. The
        blocks are counted from the slide's corner, never from the tile's.
    residual
        Averaged pixels per pixel of the tile: 1.0 where none are resampled any further.
    """

    size_px: int
    level: int
    downsample: float
    reduction: int
    residual: float

    @property
    def px_per_pixel(self) -> float:
        """Level-0 pixels that an averaged pixel covers."""
        return self.downsample * self.reduction

    @property
    def side_px(self) -> float:
        """Level-0 pixels that a tile covers, along one side."""
        return self.size_px * self.px_per_pixel * self.residual

    @property
    def resampling(self) -> str:
        """In words, as it stands in tile files and model cards."""
        steps = []
        if self.reduction > 1:
            steps.append(f"mean of {self.reduction} x {self.reduction} px")
        if self.residual != 1.0:
            steps.append(f"antialiased bilinear by {self.residual:.6g}")
        return ", then ".join(steps) or "none"


def plan_reading(slide: SlideRecord, *, mpp: float, size_px: int) -> ReadingPlan:
    """Plan how tiles of `size_px` at `mpp` microns per pixel are read.

    A level or a whole reduction that misses the wanted scale by less than half a pixel over the
    tile is taken as it is; scanners round the sizes of their levels by as much.

    Raises
    ------
    InputError
        The slide is coarser than twice what is wanted, or the tile has no usable size.
    """
    if not 1 <= size_px <= LARGEST_SIZE_PX:
        raise InputError(
            f"tiles of {size_px} px can't be read; ask for 1 to {LARGEST_SIZE_PX} px",
            size_px=size_px,
        )
    if not (math.isfinite(mpp) and mpp > 0):
        raise InputError(
            f"tiles at {mpp:g} microns per pixel can't be read; name a number above 0", mpp=mpp
        )
    scale = mpp / slide.mpp  # level-0 pixels per pixel of the tile
    if scale < _FINEST:
        raise InputError(
            f"slide {slide.name!r} has {slide.mpp:g} microns per pixel, too coarse for tiles at "
            f"{mpp:g}; ask for at least {slide.mpp * _FINEST:g}",
            slide=slide.name,
            mpp=mpp,
        )
    tolerance = 0.5 / size_px
    downsamples = _downsamples(slide)
    level = max(
        (n for n, downsample in enumerate(downsamples) if downsample <= scale * (1 + tolerance)),
        default=0,
        key=downsamples.__getitem__,
    )
    left = scale / downsamples[level]
    reduction = max(1, round(left))
    if abs(left / reduction - 1) < tolerance:
        return ReadingPlan(size_px, level, downsamples[level], reduction, 1.0)
    reduction = max(1, math.floor(left / _REDUCING_GAP))
    return ReadingPlan(size_px, level, downsamples[level], reduction, left / reduction)


def whole_downsample(downsample: float) -> int | None:
    """Return a level's downsample as a whole number, None where it is none."""
    return round(downsample) if downsample == round(downsample) else None


def _downsamples(slide: SlideRecord) -> tuple[float, ...]:
    """As OpenSlide has them: the mean of both directions."""
    return tuple(
        (slide.width_px / width + slide.height_px / height) / 2 for width, height in slide.levels
    )
