"""Types that carry a unit, and the conversions between them."""

from __future__ import annotations

from typing import NewType

Microns = NewType("Microns", float)
"""Length on the specimen."""

SlidePixels = NewType("SlidePixels", float)
"""Length in level-0 pixels of a slide."""

MicronsPerPixel = NewType("MicronsPerPixel", float)
"""Pixel size at level 0."""

SquareMicrons = NewType("SquareMicrons", float)
"""Area on the specimen."""


def area_um2(area_px2: float, mpp: float) -> SquareMicrons:
    """Area on the specimen of an area in level-0 pixels."""
    return SquareMicrons(area_px2 * mpp * mpp)


def length_px(length_um: float, mpp: float) -> SlidePixels:
    """Length in level-0 pixels of a length on the specimen."""
    return SlidePixels(length_um / mpp)
