"""Tiles of pixels with soft masks, for segmentation.

Shapes: K classes, R raters, h and w pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from models.datasets.pixels import SlidePixels
from models.datasets.releases import ReleasedSlide, TrainingRelease
from models.datasets.tile_targets import released_grids, require_task, targets_of_tiles
from models.labels.items import OpenItems
from models.labels.masks import SlideMasks
from models.labels.tiles import tile_labels
from models.targets import Targets
from models.tiling.grid import TileGrid

__all__ = ["MaskedTile", "SegmentationDataset", "segmentation_dataset"]


@dataclass(frozen=True, eq=False)
class MaskedTile:
    """A tile and what is known of its pixels; see `TileMask`.

    ``pixels`` (3, h, w) uint8; ``posterior`` (K, h, w) float32; ``hard`` (h, w) and ``votes``
    (R, h, w) int64, -1 where there is none; ``in_domain`` and ``labelled`` (h, w) float32.
    """

    index: int
    pixels: torch.Tensor
    posterior: torch.Tensor
    hard: torch.Tensor
    votes: torch.Tensor
    in_domain: torch.Tensor
    labelled: torch.Tensor


class SegmentationDataset(Dataset[MaskedTile]):
    """Tiles of many slides; pixels are read and masks drawn when a tile is asked for.

    Attributes
    ----------
    targets
        Of the tiles as a whole, in their order: for splits, weights and figures by patient.
    slide, row : shape (n,)
        Which of ``slides`` a tile lies on, and which of that slide's tiles it is.
    skipped
        Slides that were left out, with the reason.
    """

    def __init__(
        self,
        targets: Targets,
        slides: Sequence[ReleasedSlide],
        slide: NDArray[np.int64],
        row: NDArray[np.int64],
        masks: Sequence[SlideMasks],
        grids: Sequence[TileGrid],
        skipped: tuple[tuple[str, str], ...],
    ) -> None:
        self.targets, self.slides, self.slide, self.row = targets, tuple(slides), slide, row
        self.skipped = skipped
        self._masks, self._grids = masks, grids
        self._pixels = SlidePixels(slides)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> MaskedTile:
        slide, x_px, y_px = self._place(index)
        grid = self._grids[slide]
        mask = self._masks[slide].tile(x_px, y_px, grid.side_px, grid.settings.size_px)
        return MaskedTile(
            index=index,
            pixels=torch.from_numpy(self.pixels(index))
            .permute(2, 0, 1)
            .contiguous(),  # [h, w, 3] -> [3, h, w]
            posterior=torch.from_numpy(mask.posterior),
            hard=torch.from_numpy(mask.hard),
            votes=torch.from_numpy(mask.votes),
            in_domain=torch.from_numpy(mask.in_domain),
            labelled=torch.from_numpy(mask.labelled),
        )

    def pixels(self, index: int) -> NDArray[np.uint8]:
        """A tile without its masks, (h, w, 3)."""
        slide, x_px, y_px = self._place(index)
        settings = self._grids[slide].settings
        return self._pixels.read(slide, x_px, y_px, mpp=settings.mpp, size_px=settings.size_px)

    def _place(self, index: int) -> tuple[int, float, float]:
        """The number of a tile's slide, and its upper left corner in level-0 pixels."""
        slide, row = int(self.slide[index]), int(self.row[index])
        grid = self._grids[slide]
        return slide, float(grid.x_px[row]), float(grid.y_px[row])

    @property
    def fingerprints(self) -> list[str | None]:
        """The fingerprint of each tile's slide."""
        return [self.slides[number].fingerprint for number in self.slide.tolist()]


def segmentation_dataset(
    release: TrainingRelease,
    grids: Mapping[str, TileGrid],
    *,
    open_items: OpenItems = "masked",
    allow_missing: bool = False,
) -> SegmentationDataset:
    """The tiles of a release of regions that hold anything rated, with their masks.

    Parameters
    ----------
    grids
        The tiles of each slide, by its name, all at one resolution.
    open_items
        See `item_labels`.
    allow_missing
        Leave out slides without tiles.
    """
    require_task(release, "regions")
    slides, skipped = released_grids(release, grids, allow_missing=allow_missing)
    of_slides = [grids[slide.name] for slide in slides]
    masks, labels = [], []
    for slide, grid in zip(slides, of_slides, strict=True):
        items = release.items(slide)
        masks.append(SlideMasks(items, release.classes, release.raters, open_items=open_items))
        labels.append(
            tile_labels(
                items, grid, release.classes, release.raters, min_share=0.0, open_items=open_items
            )
        )
    targets, slide_of, row = targets_of_tiles(release, slides, labels)
    return SegmentationDataset(targets, slides, slide_of, row, masks, of_slides, skipped)
