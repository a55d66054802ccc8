"""The index of a tiled JPEG TIFF: where in the file each tile of each level lies."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

__all__ = ["SteppingAsideError", "TiffLevel", "tiff_levels"]

_JPEG = 7
_RGB, _YCBCR = 2, 6
_MOST_PAGES = 256
_SMALLEST_TILE_PX, _LARGEST_TILE_PX = 16, 2048
_LONGEST_TABLES_BYTES = 1 << 16

# It writes on the log what it finds odd; here that is a reason to step aside, which is told.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class SteppingAsideError(Exception):
    """The file, or a level of it, is left to OpenSlide; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class TiffLevel:
    """One level as the file's index has it; immutable, and shared by all threads.

    Attributes
    ----------
    width_px, height_px
        Size of the level.
    tile_width_px, tile_height_px
        Size of a tile; those at the right and the lower edge reach beyond the level.
    offsets, byte_counts : shape (rows, columns)
        Where a tile's bytes begin, and how many there are: 0 where a tile is missing.
    head
        What stands before the bytes of each tile, so that both are a whole JPEG file.
    """

    width_px: int
    height_px: int
    tile_width_px: int
    tile_height_px: int
    offsets: NDArray[np.uint64]
    byte_counts: NDArray[np.uint64]
    head: bytes


def tiff_levels(path: Path) -> dict[tuple[int, int], TiffLevel]:
    """Return the tiled levels of a TIFF, by width and height.

    Everything is checked before memory is taken: the number of tiles against the size, tiles
    against 2048 px a side and their bytes against the pixels they hold.

    Raises
    ------
    SteppingAsideError
        It is no TIFF, its index is broken, or some of its levels are not JPEG in RGB or YCbCr.
    """
    import tifffile

    try:
        with tifffile.TiffFile(path) as tiff:
            pages = [page for page in _pages(tiff) if page.is_tiled]
            levels = [_level(page) for page in pages]
    except SteppingAsideError:
        raise
    except Exception as error:  # noqa: BLE001 - OpenSlide reads the slide, whatever breaks the parser
        raise SteppingAsideError(
            f"its TIFF index can't be read ({_line(error)})" if _is_tiff(path) else "it is no TIFF"
        ) from None
    found = {(level.width_px, level.height_px): level for level in levels}
    if len(found) != len(levels):
        raise SteppingAsideError("two of its levels have the same size")
    return found


def _pages(tiff: TiffFile) -> list[TiffPage]:
    pages = [page.aspage() for page in islice(tiff.pages, _MOST_PAGES + 1)]
    if len(pages) > _MOST_PAGES:
        raise SteppingAsideError(f"it has more than {_MOST_PAGES} pages")
    return pages


def _level(page: TiffPage) -> TiffLevel:
    if page.compression != _JPEG:
        raise SteppingAsideError(f"its tiles are compressed by {page.compression!r}, not as JPEG")
    if page.photometric not in (_RGB, _YCBCR) or page.samplesperpixel != 3:
        raise SteppingAsideError("its tiles are neither RGB nor YCbCr")
    if page.bitspersample != 8 or page.planarconfig != 1 or page.imagedepth != 1:
        raise SteppingAsideError("its colours don't lie together in one tile, 8 bits each")
    sides = (page.tilewidth, page.tilelength)
    if not all(_SMALLEST_TILE_PX <= side <= _LARGEST_TILE_PX for side in sides):
        raise SteppingAsideError(f"its tiles are {sides[0]} x {sides[1]} px")
    columns, rows = -(-page.imagewidth // sides[0]), -(-page.imagelength // sides[1])
    tables = page.jpegtables or b""
    if len(tables) > _LONGEST_TABLES_BYTES:
        raise SteppingAsideError(f"its JPEG tables take {len(tables):,} bytes")
    offsets, byte_counts = page.dataoffsets, page.databytecounts
    if not len(offsets) == len(byte_counts) == columns * rows:
        raise SteppingAsideError(
            f"its index lists {len(offsets):,} tiles where {columns * rows:,} are needed"
        )
    counts = np.asarray(byte_counts, np.uint64).reshape(rows, columns)
    # JPEG can take more than the pixels themselves, but never twice as much.
    if counts.max() > max(sides[0] * sides[1] * 6, _LONGEST_TABLES_BYTES):
        raise SteppingAsideError(f"a tile of it takes {counts.max():,} bytes")
    return TiffLevel(
        width_px=page.imagewidth,
        height_px=page.imagelength,
        tile_width_px=sides[0],
        tile_height_px=sides[1],
        offsets=np.asarray(offsets, np.uint64).reshape(rows, columns),
        byte_counts=counts,
        head=_head(tables, ycbcr=page.photometric == _YCBCR),
    )


def _head(tables: bytes, *, ycbcr: bool) -> bytes:
    """What a tile lacks to be a JPEG file: the tables, and the colours that the TIFF has.

    A decoder knows the colours by an Adobe marker, whose last byte is 1 for YCbCr and 0 for RGB.
    """
    colours = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([ycbcr])
    return b"\xff\xd8" + colours + tables[2:-2]


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
