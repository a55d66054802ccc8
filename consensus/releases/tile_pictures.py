"""Tiles of a release's slides as pictures, on the grid of its masks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from annotation.slide_images import unchanged_image
from annotation.slides import tiles_of
from annotation.tables import Slide
from consensus.releases.masks import MaskGrid

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["tile_pictures"]


@contextmanager
def tile_pictures(slide: Slide, grid: MaskGrid) -> Iterator[Callable[[int, int], Image.Image]]:
    """A function that reads the tile of a column and a row, its sides ``grid.tile_px``.

    Raises
    ------
    SlideError
        The slide has no image, or a broken one.
    RefusedError
        Its image is not the one that was added.
    """
    side_px = grid.tile_side_px
    with tiles_of(unchanged_image(slide)) as read:
        yield lambda column, row: read(column * side_px, row * side_px, side_px, grid.tile_px)
