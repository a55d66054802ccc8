"""Between the specimen and level-0 pixels; ``mpp`` is microns per pixel at level 0."""

from __future__ import annotations

__all__ = ["length_px", "um2_per_px2"]


def um2_per_px2(mpp: float) -> float:
    """Area on the specimen of one level-0 pixel."""
    return mpp * mpp


def length_px(length_um: float, mpp: float) -> float:
    """Length in level-0 pixels of a length on the specimen."""
    return length_um / mpp
