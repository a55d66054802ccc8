"""Pixels straight from the tiles of a JPEG TIFF, without OpenSlide between."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg

from models.reading.resampling import Pixels, block_means, reduced_window
from models.reading.tiff_index import TiffLevel

__all__ = ["TiffTiles", "UndecodedError"]

CACHE_BYTES = 32 << 20


class UndecodedError(Exception):
    """A tile is missing, or is not a JPEG of its size; the message says which of it."""


class TiffTiles:
    """Tiles of one slide, read through a handle of its own: for one thread.

    Parameters
    ----------
    levels
        By the slide's number of the level.
    background
        The colour beyond the slide's edge.
    instead
        What to do about a tile that is missing or can't be decoded: given the level and the
        tile's column and row, it returns the pixels of the whole tile or raises.
    """

    def __init__(
        self,
        path: Path,
        levels: dict[int, TiffLevel],
        background: tuple[int, int, int],
        instead: Callable[[int, int, int, UndecodedError], Pixels],
    ) -> None:
        self._file = path.open("rb", buffering=0)
        self._levels = levels
        self._background = background
        self._instead = instead
        self._cache: OrderedDict[tuple[int, int, int, int], Pixels] = OrderedDict()
        self._cached_bytes = 0

    def close(self) -> None:
        """Close the file and let go of what was decoded."""
        self._file.close()
        self._cache.clear()

    def window(
        self, level: int, reduction: int, x_px: int, y_px: int, width_px: int, height_px: int
    ) -> Pixels:
        """Return a window of averaged pixels, given in averaged pixels; see `ReadingPlan`."""
        tiff = self._levels[level]
        if tiff.tile_width_px % reduction or tiff.tile_height_px % reduction:
            # A block would reach over two tiles.
            return reduced_window(
                lambda *place: self.window(level, 1, *place),
                reduction, x_px, y_px, width_px, height_px,
            )  # fmt: skip
        tile_width, tile_height = tiff.tile_width_px // reduction, tiff.tile_height_px // reduction
        rows, columns = tiff.offsets.shape
        first_column, first_row = max(0, x_px // tile_width), max(0, y_px // tile_height)
        end_column = min(columns, -(-(x_px + width_px) // tile_width))
        end_row = min(rows, -(-(y_px + height_px) // tile_height))
        window = np.empty((height_px, width_px, 3), np.uint8)
        if (
            x_px < 0
            or y_px < 0
            or x_px + width_px > columns * tile_width
            or y_px + height_px > rows * tile_height
        ):
            window[:] = self._background
        for row in range(first_row, end_row):
            for column in range(first_column, end_column):
                left, top = column * tile_width - x_px, row * tile_height - y_px
                right, bottom = left + tile_width, top + tile_height
                whole = left >= 0 and top >= 0 and right <= width_px and bottom <= height_px
                tile = self._tile(level, reduction, column, row, keep=not whole)
                window[max(0, top) : bottom, max(0, left) : right] = tile[
                    max(0, -top) : height_px - top, max(0, -left) : width_px - left
                ]
        return window

    def decoded(self, level: int, column: int, row: int) -> Pixels:
        """Return a tile as its bytes have it, the background beyond the level's edge.

        Raises
        ------
        UndecodedError
            It is missing, cut short, or no JPEG of the size that the index says.
        """
        tiff = self._levels[level]
        count = int(tiff.byte_counts[row, column])
        if not count:
            raise UndecodedError("is missing")
        try:
            self._file.seek(int(tiff.offsets[row, column]))
            data = self._file.read(count)
        except (OSError, OverflowError) as error:
            raise UndecodedError(str(error)) from None
        if len(data) != count or data[:2] != b"\xff\xd8":
            raise UndecodedError("is not in its place")
        data = tiff.head + data[2:]
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
            if (height, width) != (tiff.tile_height_px, tiff.tile_width_px):
                raise UndecodedError(f"is {width} x {height} px")
            # The transform and the interpolation of colours that OpenSlide uses.
            pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
        except ValueError as error:
            raise UndecodedError(" ".join(str(error).split())) from None
        pixels[max(0, tiff.height_px - row * tiff.tile_height_px) :] = self._background
        pixels[:, max(0, tiff.width_px - column * tiff.tile_width_px) :] = self._background
        return pixels

    def _tile(self, level: int, reduction: int, column: int, row: int, *, keep: bool) -> Pixels:
        """Return an averaged tile; one of which only a part was wanted is kept for its neighbour."""
        key = (level, reduction, column, row)
        if (tile := self._cache.get(key)) is not None:
            self._cache.move_to_end(key)
            return tile
        try:
            tile = self.decoded(level, column, row)
        except UndecodedError as error:
            tile = self._instead(level, column, row, error)
        tile = block_means(tile, reduction)
        if keep:
            self._cache[key] = tile
            self._cached_bytes += tile.nbytes
            while self._cached_bytes > CACHE_BYTES:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return tile
