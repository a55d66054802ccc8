"""Tiles out of slides, at the microns per pixel that are asked for.

Pixels come from OpenSlide, or straight from the tiles of a JPEG TIFF where a probe shows that they
are the same bit for bit; a level for which it doesn't, or a tile that can't be decoded, is left to
OpenSlide. What lies beyond the slide's edge has the slide's background colour.
"""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from PIL import Image, ImageColor

from annotation.errors import InputError, SlideError
from annotation.slides import SlideRecord, read_slide
from models.errors import TileError
from models.reading.plan import ReadingPlan, plan_reading, whole_downsample
from models.reading.resampling import Pixels, reduced_window, resampled
from models.reading.tiff_index import SteppingAsideError, TiffLevel, tiff_levels
from models.reading.tiff_tiles import TiffTiles, UndecodedError

if TYPE_CHECKING:
    from openslide import OpenSlide

__all__ = ["Reader", "Way", "open_reader"]

Ways = Literal["auto", "openslide", "tiff"]

# OpenSlide keeps decoded tiles for each handle, and each thread has its own.
_CACHE_BYTES = 16 << 20
# Of these OpenSlide shows the tiles as they lie in the index; of others it moves or joins them.
_PLAIN_VENDORS = ("aperio", "generic-tiff")
# Where files say what scanned them: the model, or Aperio's own name of the device.
_SCANNERS = (
    "leica.device-model", "dicom.ManufacturerModelName", "tiff.Model", "aperio.ScanScope ID",
)  # fmt: skip
_JUNCTION_PX = 64
_FARTHEST_PX = 1 << 30


@dataclass(frozen=True, slots=True)
class Way:
    """Where the pixels of a level come from, and, of OpenSlide, why."""

    name: Literal["openslide", "tiff"]
    reason: str


def open_reader(path: str | Path, *, mpp: float | None = None, way: Ways = "auto") -> Reader:
    """Open a slide to read tiles from it.

    Parameters
    ----------
    mpp
        Microns per pixel at level 0 that hold whatever the file says.
    way
        `auto` probes each level before its first tile. `openslide` never reads the TIFF itself;
        `tiff` refuses to read what the probe would leave to OpenSlide.

    Raises
    ------
    SlideError
        No slide, a broken one, or one without usable microns per pixel while `mpp` is None.
    """
    path = Path(path)
    record = read_slide(path, mpp=mpp, hash_files=False)
    found: dict[tuple[int, int], TiffLevel] = {}
    aside = "the TIFF was not to be read"
    if way != "openslide":
        try:
            if record.vendor not in _PLAIN_VENDORS:
                raise SteppingAsideError(f"its vendor is {record.vendor}")
            found = tiff_levels(path)
        except SteppingAsideError as error:
            aside = str(error)
    tiled = {n: found[size] for n, size in enumerate(record.levels) if size in found}
    with _opened(path) as slide:
        background = f"#{slide.properties.get('openslide.background-color', 'ffffff')}"
    return Reader(_Source(record, background, tiled, way, aside, {}, {}))


@dataclass(frozen=True, slots=True)
class _Source:
    """What all readers of one slide share: found out once, and no handle among it."""

    slide: SlideRecord
    background: str
    tiled: dict[int, TiffLevel]
    asked: Ways
    aside: str
    ways: dict[int, Way]
    plans: dict[tuple[float, int], ReadingPlan]


class Reader:
    """Reads tiles of one slide, through handles of its own: one for each thread.

    `open_reader` makes the first, `another` more of them. A reader doesn't outlive a fork: the
    child's would share positions in the files with the parent's.

    Attributes
    ----------
    slide
        What the slide's file says about it, without its fingerprint.
    """

    def __init__(self, source: _Source) -> None:
        self.slide = source.slide
        self._source = source
        self._openslide: OpenSlide | None = None
        self._tiff: TiffTiles | None = None
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all handles."""
        if self._openslide is not None:
            self._openslide.close()
            self._openslide = None
        if self._tiff is not None:
            self._tiff.close()
            self._tiff = None

    def another(self) -> Reader:
        """Return a reader of the same slide with handles of its own; nothing is probed again."""
        return Reader(self._source)

    @property
    def scanner(self) -> str | None:
        """What the slide was scanned with, where its file says so."""
        properties = self._open_openslide().properties
        found = (" ".join(properties.get(name, "").split()) for name in _SCANNERS)
        return next(filter(None, found), None)

    def plan(self, *, mpp: float, size_px: int) -> ReadingPlan:
        """Return the level and the resampling by which such tiles are read."""
        key = (mpp, size_px)
        if key not in self._source.plans:
            self._source.plans[key] = plan_reading(self.slide, mpp=mpp, size_px=size_px)
        return self._source.plans[key]

    def read(self, x_px: float, y_px: float, *, mpp: float, size_px: int) -> Pixels:
        """Return a tile, shape (size_px, size_px, 3).

        Parameters
        ----------
        x_px, y_px
            Its upper left corner in level-0 pixels, which may lie beyond the slide's edge. Unless
            pixels are resampled (`ReadingPlan.residual`), it is moved to the nearest whole
            averaged pixel: by half a pixel of the tile at most.
        mpp
            Microns per pixel of the tile.

        Raises
        ------
        TileError
            The slide is broken there; says at which level, and which of its tiles.
        """
        plan = self.plan(mpp=mpp, size_px=size_px)
        if not (abs(x_px) <= _FARTHEST_PX and abs(y_px) <= _FARTHEST_PX):
            raise InputError(
                f"slide {self.slide.name!r} has no tile at {x_px:g}, {y_px:g}; name level-0 pixels",
                slide=self.slide.name,
            )
        left, top = x_px / plan.px_per_pixel, y_px / plan.px_per_pixel
        if plan.residual == 1.0:
            return self._window(plan, _nearest(left), _nearest(top), size_px, size_px)
        side = size_px * plan.residual
        margin = math.ceil(max(1.0, plan.residual)) + 1  # how far the bilinear weights reach
        first_x, first_y = math.floor(left) - margin, math.floor(top) - margin
        width = math.ceil(left + side) + margin - first_x
        height = math.ceil(top + side) + margin - first_y
        window = self._window(plan, first_x, first_y, width, height)
        return resampled(window, left - first_x, top - first_y, side, size_px)

    def way(self, level: int) -> Way:
        """Return where the pixels of a level come from; the first call probes it."""
        ways = self._source.ways
        if level not in ways:
            reason = self._probe(level)
            ways[level] = Way("openslide", reason) if reason else Way("tiff", "")
        return ways[level]

    def _window(self, plan: ReadingPlan, x: int, y: int, width: int, height: int) -> Pixels:
        if os.getpid() != self._process:
            raise InputError(
                f"the reader of slide {self.slide.name!r} was opened before this process was "
                "forked; open one in each process",
                slide=self.slide.name,
            )
        way = self.way(plan.level)
        if way.name == "tiff":
            return self._tiff_tiles().window(plan.level, plan.reduction, x, y, width, height)
        if self._source.asked == "tiff":
            raise SlideError(
                f"slide {self.slide.name!r} can't be read straight from its TIFF at level "
                f"{plan.level}: {way.reason}; read it through OpenSlide",
                slide=self.slide.name,
                level=plan.level,
            )
        return reduced_window(
            lambda *place: self._by_openslide(plan.level, place),
            plan.reduction, x, y, width, height,
        )  # fmt: skip

    # OpenSlide

    def _open_openslide(self) -> OpenSlide:
        import openslide

        if self._openslide is None:
            self._openslide = _opened(self.slide.path)
            self._openslide.set_cache(openslide.OpenSlideCache(_CACHE_BYTES))
        return self._openslide

    def _by_openslide(
        self, level: int, place: tuple[int, int, int, int], tile: tuple[int, int] | None = None
    ) -> Pixels:
        """Read x, y, width and height of a level in its own pixels; `tile` is what it is called."""
        import openslide

        slide = self._open_openslide()
        downsample = slide.level_downsamples[level]
        x, y, width, height = place
        corner = _nearest(x * downsample), _nearest(y * downsample)
        try:
            picture = slide.read_region(corner, level, (width, height))
        except openslide.OpenSlideError as error:
            # After a fault OpenSlide refuses everything else that is asked of the handle.
            slide.close()
            self._openslide = None
            where = (
                f"tile column {tile[0]}, row {tile[1]}"
                if tile
                else f"the {width} x {height} px from column {x}, row {y}"
            )
            raise TileError(
                f"slide {self.slide.name!r} is broken at level {level}, {where} "
                f"({' '.join(str(error).split())}); copy it again from its source, or leave out "
                "what can't be read with --allow-missing",
                slide=self.slide.name,
                level=level,
                column=tile[0] if tile else x,
                row=tile[1] if tile else y,
            ) from None
        alpha = picture.getchannel("A")
        if alpha.getextrema() == (255, 255):
            return np.array(picture.convert("RGB"))
        opaque = Image.new("RGB", picture.size, self._source.background)
        opaque.paste(picture, mask=alpha)
        return np.array(opaque)

    # The TIFF itself

    def _tiff_tiles(self) -> TiffTiles:
        if self._tiff is None:
            self._tiff = TiffTiles(
                self.slide.path,
                self._source.tiled,
                ImageColor.getrgb(self._source.background)[:3],
                self._tile_by_openslide,
            )
        return self._tiff

    def _tile_by_openslide(self, level: int, column: int, row: int, _: UndecodedError) -> Pixels:
        tiff = self._source.tiled[level]
        width, height = tiff.tile_width_px, tiff.tile_height_px
        return self._by_openslide(
            level, (column * width, row * height, width, height), (column, row)
        )

    def _probe(self, level: int) -> str:
        """Return why a level is left to OpenSlide, "" where the TIFF gives the same pixels.

        Both are held against each other in the first and the last tile, those with the most
        and the median of bytes, and where four tiles meet.
        """
        if level not in self._source.tiled:
            return (
                self._source.aside
                if not self._source.tiled
                else "its index has no level of this size"
            )
        downsample = self._open_openslide().level_downsamples[level]
        if whole_downsample(downsample) is None:
            return (
                f"its pixels are {downsample:.6g} times as large as level 0's, no whole number, "
                "and OpenSlide interpolates between them"
            )
        tiff, tiles = self._source.tiled[level], self._tiff_tiles()
        width, height = tiff.tile_width_px, tiff.tile_height_px
        rows, columns = tiff.offsets.shape
        by_bytes = np.argsort(tiff.byte_counts, axis=None, kind="stable")
        chosen = {0, rows * columns - 1, int(by_bytes[-1]), int(by_bytes[by_bytes.size // 2])}
        compared = 0
        for row, column in (divmod(index, columns) for index in sorted(chosen)):
            # What can't be decoded here is taken from OpenSlide anyway, tile by tile.
            with suppress(UndecodedError, TileError):
                ours = tiles.decoded(level, column, row)
                place = (column * width, row * height, width, height)
                if not np.array_equal(ours, self._by_openslide(level, place)):
                    return f"OpenSlide shows other pixels in tile column {column}, row {row}"
                compared += 1
        corner = columns // 2 * width - _JUNCTION_PX // 2, rows // 2 * height - _JUNCTION_PX // 2
        place = (*corner, _JUNCTION_PX, _JUNCTION_PX)
        with suppress(TileError):
            if not np.array_equal(tiles.window(level, 1, *place), self._by_openslide(level, place)):
                return "OpenSlide shows other pixels where tiles meet"
        return "" if compared else "none of the probe's tiles can be decoded"


def _opened(path: Path) -> OpenSlide:
    import openslide

    try:
        return openslide.OpenSlide(path)
    except (OSError, openslide.OpenSlideError) as error:
        raise SlideError(
            f"slide {str(path)!r} can't be opened again ({' '.join(str(error).split())}); "
            "check that it is still there",
            path=path,
        ) from None


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)
