"""Tiles restained at random while a network learns from pixels, each by the stains of its slide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from annotation.terminal import counted
from models.errors import StainError
from models.stain.augmentation import StainAugmentation
from models.stain.macenko import macenko
from models.stain.slide_pixels import PIXELS, TILES
from models.stain.stains import REFERENCE, Stains

__all__ = ["TileAugmentation", "tile_augmentation"]

_NAMED = 3


class TileAugmentation:
    """Draws another staining of a tile.

    Parameters
    ----------
    draws
        How far stainings differ.
    stains
        Of slides, by number.
    slide : shape (n,)
        Which slide each tile lies on.
    notes
        What a reader of the model's card must know.
    """

    def __init__(
        self,
        draws: StainAugmentation,
        stains: Mapping[int, Stains],
        slide: NDArray[np.int64],
        notes: tuple[str, ...] = (),
    ) -> None:
        self.draws, self.notes = draws, notes
        self._stains, self._slide = stains, slide

    def __call__(
        self, pixels: NDArray[np.uint8], item: int, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """The pixels (h, w, 3) of a tile restained; depends on them and the generator alone."""
        return self.draws(pixels, self._stains[int(self._slide[item])], rng)


def tile_augmentation(
    draws: StainAugmentation,
    pixels_of: Callable[[int], NDArray[np.uint8]],
    items: NDArray[np.int64],
    slide: NDArray[np.int64],
    slides: Sequence[str],
) -> TileAugmentation:
    """Estimate the stains of the slides that are learnt, by Macenko on the tiles that are.

    Where a slide's can't be told apart, published ones stand in, as for every slide in Tellez et al.
    (2018), and a note says so.

    Parameters
    ----------
    pixels_of
        Reads a tile by its number, (h, w, 3).
    items
        The tiles to learn.
    slide : shape (n,)
        Which of the slides each tile lies on.
    slides
        Their names.
    """
    stains: dict[int, Stains] = {}
    failed: list[StainError] = []
    for number in np.unique(slide[items]).tolist():
        rng = np.random.default_rng(0)
        there = items[slide[items] == number]
        chosen = rng.choice(there, min(TILES, len(there)), replace=False)
        tiles = np.concatenate([pixels_of(item).reshape(-1, 3) for item in chosen.tolist()])
        pixels = tiles[rng.choice(len(tiles), min(PIXELS, len(tiles)), replace=False)]
        try:
            stains[number] = macenko(pixels, slides[number])
        except StainError as error:
            stains[number] = REFERENCE
            failed.append(error)
    notes: tuple[str, ...] = ()
    if failed:
        reasons = "; ".join(error.message.partition("; ")[0] for error in failed[:_NAMED])
        more = f"; and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        notes = (
            f"published stains stand in for those of {counted(len(failed), 'slide')} where tiles are restained "
            f"at random: {reasons}{more}",
        )
    return TileAugmentation(draws, stains, slide, notes)
