"""Tiles with labels: their features, or their pixels.

Shapes: B tiles of a batch, D features, h and w pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from models.datasets.feature_files import FeatureFiles, feature_files
from models.datasets.pixels import SlidePixels
from models.datasets.releases import ReleasedSlide, TrainingRelease
from models.datasets.tile_targets import released_grids, require_task, targets_of_tiles
from models.features import read_rows
from models.labels.items import OpenItems
from models.labels.objects import object_tiles
from models.labels.tiles import TileLabels, tile_labels
from models.targets import Targets
from models.tiling.grid import TileGrid

__all__ = [
    "TileDataset",
    "TileSource",
    "feature_tiles",
    "object_crops",
    "pixel_tiles",
]

Ints = NDArray[np.int64]


class TileSource(Protocol):
    """Where a tile's features or pixels come from."""

    def load(self, slide: Ints, row: Ints) -> torch.Tensor:
        """Tiles by slide and by number on the slide, (B, D) or (B, 3, h, w)."""
        ...


class TileDataset(Dataset[torch.Tensor]):
    """Tiles of many slides; each is read when it is asked for.

    Attributes
    ----------
    targets
        Of the tiles, in their order.
    slide, row : shape (n,)
        Which of ``slides`` a tile lies on, and which of that slide's tiles it is.
    skipped
        Slides that were left out, with the reason.
    """

    def __init__(
        self,
        targets: Targets,
        slides: Sequence[ReleasedSlide],
        slide: Ints,
        row: Ints,
        source: TileSource,
        skipped: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.targets, self.slides, self.slide, self.row = targets, tuple(slides), slide, row
        self.skipped = skipped
        self._source = source

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.load(np.array([index]))[0]

    def load(self, indices: Ints) -> torch.Tensor:
        """Tiles by their indices, (B, D) features as stored or (B, 3, h, w) pixels in uint8."""
        return self._source.load(self.slide[indices], self.row[indices])

    @property
    def fingerprints(self) -> list[str | None]:
        """The fingerprint of each tile's slide."""
        of_slide = [slide.fingerprint for slide in self.slides]
        return [of_slide[number] for number in self.slide.tolist()]


def feature_tiles(
    release: TrainingRelease,
    folder: Path,
    *,
    min_share: float = 0.5,
    open_items: OpenItems = "masked",
    allow_missing: bool = False,
) -> TileDataset:
    """The tiles of a release of regions, as features.

    Parameters
    ----------
    folder, allow_missing
        See `feature_files`.
    min_share, open_items
        See `tile_labels`.
    """
    require_task(release, "regions")
    files = feature_files(release.slides, folder, allow_missing=allow_missing)
    labels = [
        tile_labels(
            release.items(file.slide),
            _Corners(file.coordinates, file.origin.side_px),
            release.classes,
            release.raters,
            min_share=min_share,
            open_items=open_items,
        )
        for file in files.files
    ]
    return _dataset(release, files.slides, labels, _FeatureRows(files), files.skipped)


def pixel_tiles(
    release: TrainingRelease,
    grids: Mapping[str, TileGrid],
    *,
    min_share: float = 0.5,
    open_items: OpenItems = "masked",
    allow_missing: bool = False,
) -> TileDataset:
    """The tiles of a release of regions, as pixels.

    Parameters
    ----------
    grids
        The tiles of each slide, by its name, all at one resolution.
    min_share, open_items
        See `tile_labels`.
    allow_missing
        Leave out slides without tiles.
    """
    require_task(release, "regions")
    slides, skipped = released_grids(release, grids, allow_missing=allow_missing)
    labels = [
        tile_labels(
            release.items(slide),
            grids[slide.name],
            release.classes,
            release.raters,
            min_share=min_share,
            open_items=open_items,
        )
        for slide in slides
    ]
    settings = grids[slides[0].name].settings
    corners = [np.column_stack([grids[s.name].x_px, grids[s.name].y_px]) for s in slides]
    source = _TilePixels(SlidePixels(slides), corners, settings.mpp, settings.size_px)
    return _dataset(release, slides, labels, source, skipped)


def object_crops(
    release: TrainingRelease, *, mpp: float, size_px: int, open_items: OpenItems = "masked"
) -> TileDataset:
    """The objects of a release, each in the middle of a tile of pixels.

    Parameters
    ----------
    mpp, size_px
        Microns per pixel of the tiles, and their side.
    """
    require_task(release, "objects")
    crops = [
        object_tiles(
            release.items(slide),
            release.classes,
            release.raters,
            size_px * mpp / slide.mpp,
            open_items=open_items,
        )
        for slide in release.slides
    ]
    corners = [np.column_stack([crop.x_px, crop.y_px]) for crop in crops]
    source = _TilePixels(SlidePixels(release.slides), corners, mpp, size_px)
    return _dataset(release, release.slides, [crop.labels for crop in crops], source, ())


def _dataset(
    release: TrainingRelease,
    slides: Sequence[ReleasedSlide],
    labels: Sequence[TileLabels],
    source: TileSource,
    skipped: tuple[tuple[str, str], ...],
) -> TileDataset:
    targets, slide, row = targets_of_tiles(release, slides, labels)
    return TileDataset(targets, slides, slide, row, source, skipped)


class _Corners:
    """The tiles of a feature file."""

    def __init__(self, coordinates: NDArray[np.float64], side_px: float) -> None:
        self.x_px, self.y_px = coordinates[:, 0], coordinates[:, 1]
        self.side_px = side_px


class _FeatureRows:
    """Features by rows of their files."""

    def __init__(self, files: FeatureFiles) -> None:
        self._paths = [file.path for file in files.files]

    def load(self, slide: Ints, row: Ints) -> torch.Tensor:
        loaded: torch.Tensor | None = None
        for number in np.unique(slide).tolist():
            place = np.flatnonzero(slide == number)
            values = torch.from_numpy(read_rows(self._paths[number], row[place]))
            if loaded is None:
                loaded = torch.empty((len(slide), values.shape[1]), dtype=values.dtype)
            loaded[torch.from_numpy(place)] = values
        return torch.empty((0, 0)) if loaded is None else loaded


class _TilePixels:
    """Pixels by corners of tiles."""

    def __init__(
        self,
        pixels: SlidePixels,
        corners: Sequence[NDArray[np.float64]],
        mpp: float,
        size_px: int,
    ) -> None:
        self._pixels, self._corners, self._mpp, self._size_px = pixels, corners, mpp, size_px

    def load(self, slide: Ints, row: Ints) -> torch.Tensor:
        loaded = torch.empty((len(slide), 3, self._size_px, self._size_px), dtype=torch.uint8)
        for place, (on, number) in enumerate(zip(slide.tolist(), row.tolist(), strict=True)):
            x_px, y_px = self._corners[on][number].tolist()
            tile = self._pixels.read(on, x_px, y_px, mpp=self._mpp, size_px=self._size_px)
            loaded[place] = torch.from_numpy(tile).permute(2, 0, 1)  # [h, w, 3] -> [3, h, w]
        return loaded
