"""Masks of a release: PNG tiles whose pixels are class indices, with a sidecar that places them.

A pixel bears the class of the region that its centre lies in. The tiles form a grid from the
slide's origin; only those that hold rated area are written. What is rated and bears no class is
told apart from what lies outside the domain, which is never a negative.

Frame: level-0 pixels, origin top left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import InputError, SlideError
from annotation.paths import file_name, inside
from annotation.tables import Slide
from consensus.consensus_items import EXCLUDED, ResolvedItem
from consensus.releases.scan_conversion import EMPTY, scan_tiles

__all__ = [
    "OUTSIDE",
    "UNLABELLED",
    "MaskGrid",
    "check_masks",
    "check_sizes",
    "mask_tiles",
    "write_masks",
]

OUTSIDE = EMPTY
UNLABELLED = 254

TILE_RANGE_PX = (16, 8192)
MPP_RANGE = (0.05, 100.0)


@dataclass(frozen=True)
class MaskGrid:
    """The mask of one slide: its resolution, its size, and the tiles it is cut into."""

    slide_width_px: int
    slide_height_px: int
    slide_mpp: float
    mpp: float
    tile_px: int

    @property
    def downsample(self) -> float:
        """Level-0 pixels per mask pixel."""
        return self.mpp / self.slide_mpp

    @property
    def width_px(self) -> int:
        """Width of the whole mask."""
        return math.ceil(round(self.slide_width_px / self.downsample, 6))

    @property
    def height_px(self) -> int:
        """Height of the whole mask."""
        return math.ceil(round(self.slide_height_px / self.downsample, 6))

    @property
    def columns(self) -> int:
        """Tiles from left to right."""
        return math.ceil(self.width_px / self.tile_px)

    @property
    def rows(self) -> int:
        """Tiles from top to bottom."""
        return math.ceil(self.height_px / self.tile_px)

    @property
    def tile_side_px(self) -> float:
        """Side of a tile in level-0 pixels."""
        return self.tile_px * self.downsample


def check_masks(task: str, classes: Sequence[str], tile_px: int, mpp: float | None) -> None:
    """Refuse what masks can't hold, before anything is written."""
    if task != "regions":
        raise InputError(
            f"masks are for regions, and this release is of {task}; export it with --format geojson"
        )
    if len(classes) > UNLABELLED:
        raise InputError(
            f"{len(classes)} classes don't fit into 8 bits beside two reserved values; "
            "export with --format geojson"
        )
    check_sizes(tile_px, mpp)


def check_sizes(tile_px: int | None, mpp: float | None) -> None:
    """Refuse a side of tiles or a resolution that can't be meant; None is left to the slide."""
    if tile_px is not None and not TILE_RANGE_PX[0] <= tile_px <= TILE_RANGE_PX[1]:
        raise InputError(
            f"--tile-px {tile_px} can't be used; take {TILE_RANGE_PX[0]} to {TILE_RANGE_PX[1]}"
        )
    if mpp is not None and not MPP_RANGE[0] <= mpp <= MPP_RANGE[1]:
        raise InputError(
            f"--mpp {mpp:g} can't be used; take {MPP_RANGE[0]:g} to {MPP_RANGE[1]:g} um per pixel"
        )


def write_masks(
    folder: Path,
    slide: Slide,
    items: Sequence[ResolvedItem],
    classes: Sequence[str],
    *,
    tile_px: int,
    mpp: float | None,
) -> list[Path]:
    """Write the tiles of one slide and their sidecar.

    Parameters
    ----------
    folder
        Gets a folder named after the slide.
    mpp
        Microns per mask pixel; None takes the slide's own.

    Returns
    -------
    The files, the sidecar ``mask.json`` last.
    """
    import msgspec
    from PIL import Image

    grid = MaskGrid(slide.width_px, slide.height_px, slide.mpp, mpp or slide.mpp, tile_px)
    target = inside(folder, file_name(slide.name, ""))
    target.mkdir(parents=True)
    files: list[Path] = []
    entries: list[dict[str, Any]] = []
    for column, row, pixels in mask_tiles(items, classes, grid):
        path = target / f"tile_{column:04d}_{row:04d}.png"
        Image.fromarray(pixels).save(path)
        files.append(path)
        entries.append(
            {
                "file": path.name,
                "column": column,
                "row": row,
                "x_px": column * grid.tile_side_px,
                "y_px": row * grid.tile_side_px,
            }
        )
    entries.sort(key=lambda entry: (entry["row"], entry["column"]))
    sidecar = target / "mask.json"
    sidecar.write_bytes(msgspec.json.encode(_sidecar(slide, classes, grid, entries)) + b"\n")
    return [*files, sidecar]


def _sidecar(
    slide: Slide, classes: Sequence[str], grid: MaskGrid, entries: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "slide": slide.name,
        "fingerprint": slide.fingerprint,
        "slide_width_px": slide.width_px,
        "slide_height_px": slide.height_px,
        "slide_mpp": slide.mpp,
        "mpp": grid.mpp,
        "downsample": grid.downsample,
        **_nearest_level(slide, grid.downsample),
        "width_px": grid.width_px,
        "height_px": grid.height_px,
        "tile_px": grid.tile_px,
        "tile_side_level0_px": grid.tile_side_px,
        "columns": grid.columns,
        "rows": grid.rows,
        "classes": list(classes),
        "values": {name: value for value, name in enumerate(classes)},
        "unlabelled": UNLABELLED,
        "outside_domain": OUTSIDE,
        "frame": "x_px and y_px are level-0 pixels, origin top left; tiles that are not listed lie "
        "wholly outside the domain",
        "tiles": entries,
    }


def _nearest_level(slide: Slide, downsample: float) -> dict[str, Any]:
    """The level of the slide's pyramid that is nearest to the mask's resolution."""
    from annotation.slides import read_slide

    levels: tuple[tuple[int, int], ...] = ()
    if slide.path is not None:
        try:
            levels = read_slide(slide.path, mpp=slide.mpp, hash_files=False).levels
        except SlideError:
            levels = ()  # the sidecar says that the level is computed
    if not levels:
        level = max(0, round(math.log2(downsample)))
        factor, source = float(2**level), "computed: halved from level to level"
    else:
        factors = [slide.width_px / width for width, _ in levels]
        level = min(range(len(factors)), key=lambda i: abs(math.log(factors[i] / downsample)))
        factor, source = factors[level], "slide"
    return {"level": level, "level_downsample": factor, "level_source": source}


def mask_tiles(
    items: Sequence[ResolvedItem], classes: Sequence[str], grid: MaskGrid
) -> Iterator[tuple[int, int, NDArray[np.uint8]]]:
    """The tiles that hold rated area: column, row, and pixels of shape (tile_px, tile_px)."""
    value_of = {name: value for value, name in enumerate(classes)}
    rated = [item for item in items if item.geometry is not None and item.state != EXCLUDED]
    values = np.array(
        [value_of.get(item.label or "", UNLABELLED) for item in rated], dtype=np.int64
    )
    shapes = np.array([item.geometry for item in rated], dtype=object)
    polygons, owner = shapely.get_parts(shapes, return_index=True)
    yield from scan_tiles(
        polygons,
        values[owner],
        downsample=grid.downsample,
        columns=grid.columns,
        rows=grid.rows,
        tile_px=grid.tile_px,
    )
