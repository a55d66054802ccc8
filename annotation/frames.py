"""How the coordinates in which something was drawn lie on the slide.

Everything in the store is in level-0 pixels of the whole slide, origin top left. QuPath may show a
slide turned by quarters, or only the part of it that was scanned; a frame takes what was drawn
there to the slide and back, without rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.digests import content_digests, geometry_digests
from annotation.errors import SourceError
from annotation.records import Batch, PathObject

__all__ = ["WHOLE_SLIDE", "Frame", "SlideExtent", "frame_of_size", "placed"]


@dataclass(frozen=True)
class SlideExtent:
    """A slide's size, and of what was scanned x, y, width and height, in level-0 pixels."""

    name: str
    width_px: int
    height_px: int
    mpp: float
    bounds: tuple[int, int, int, int] | None


@dataclass(frozen=True)
class Frame:
    """Quarter turns and a shift: on the slide x is ``xx * x + xy * y + x0``, and y likewise."""

    xx: int = 1
    xy: int = 0
    yx: int = 0
    yy: int = 1
    x0: float = 0.0
    y0: float = 0.0

    @property
    def is_whole_slide(self) -> bool:
        """Whether coordinates are the slide's as they are."""
        return self == WHOLE_SLIDE

    def after(self, inner: Frame) -> Frame:
        """The frame that first does what ``inner`` does, then this."""
        return Frame(
            xx=self.xx * inner.xx + self.xy * inner.yx,
            xy=self.xx * inner.xy + self.xy * inner.yy,
            yx=self.yx * inner.xx + self.yy * inner.yx,
            yy=self.yx * inner.xy + self.yy * inner.yy,
            x0=self.xx * inner.x0 + self.xy * inner.y0 + self.x0,
            y0=self.yx * inner.x0 + self.yy * inner.y0 + self.y0,
        )

    @property
    def inverse(self) -> Frame:
        """The way back; a quarter turn's is its transpose."""
        return Frame(
            xx=self.xx,
            xy=self.yx,
            yx=self.xy,
            yy=self.yy,
            x0=-(self.xx * self.x0 + self.yx * self.y0),
            y0=-(self.xy * self.x0 + self.yy * self.y0),
        )

    def place(self, geometries: NDArray[np.object_]) -> NDArray[np.object_]:
        """Geometries on the slide, (n,); None stays None."""
        turn = np.array([[self.xx, self.yx], [self.xy, self.yy]], dtype=np.float64)
        shift = np.array([self.x0, self.y0])
        moved = shapely.transform(geometries, lambda xy: xy @ turn + shift)
        return np.asarray(moved, dtype=object)

    def place_object(self, thing: PathObject) -> PathObject:
        """An object on the slide."""
        if self.is_whole_slide:
            return thing
        pair = np.array([thing.geometry, thing.nucleus], dtype=object)
        outline, nucleus = self.place(pair)
        return replace(thing, geometry=outline, nucleus=nucleus)

    def to_list(self) -> list[float]:
        """What is kept of it: xx, xy, yx, yy, x0, y0."""
        return [self.xx, self.xy, self.yx, self.yy, self.x0, self.y0]


WHOLE_SLIDE = Frame()
"""Coordinates are the slide's."""


def frame_of_size(what: str, size_px: tuple[int, int], slide: SlideExtent) -> Frame:
    """The frame of an image of some size: the whole slide, or what was scanned of it.

    Raises
    ------
    SourceError
        It is neither; a reduced copy is said to be one.
    """
    whole = (slide.width_px, slide.height_px)
    if size_px == whole:
        return WHOLE_SLIDE
    scanned = None if slide.bounds is None else slide.bounds[2:]
    if slide.bounds is not None and size_px == scanned:
        return Frame(x0=slide.bounds[0], y0=slide.bounds[1])
    part = f", of which {_told(scanned)} were scanned" if scanned not in (None, whole) else ""
    raise SourceError(
        f"{what}: it is {_told(size_px)} in QuPath and slide {slide.name!r} is {_told(whole)}{part}"
        f"{_factor(size_px, whole)}; annotate the slide's own file, or name the slide with --slide",
        file=what,
    )


def _told(size: tuple[int, ...] | None) -> str:
    return "unknown" if size is None else f"{size[0]:,} x {size[1]:,} px"


def _factor(size: tuple[int, int], whole: tuple[int, int]) -> str:
    """What the sizes have in common, where one is a reduced copy of the other."""
    across, down = whole[0] / size[0], whole[1] / size[1]
    if abs(across - down) > 0.01 * across or abs(across - 1) < 0.01:
        return ""
    return f"; it is a copy reduced {across:.3g} times"


def placed(batches: Iterator[Batch], frame: Frame) -> Iterator[Batch]:
    """Objects on the slide, with the digests that they have there."""
    for batch in batches:
        if frame.is_whole_slide or not batch.objects:
            yield batch
            continue
        objects = [frame.place_object(thing) for thing in batch.objects]
        outlines = geometry_digests(np.array([thing.geometry for thing in objects], dtype=object))
        yield Batch(objects, batch.rejections, outlines, content_digests(objects, outlines))
