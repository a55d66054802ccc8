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
from models.errors import TileError
from models.features import read_rows
from models.labels.items import OpenItems
from models.labels.objects import object_tiles
from models.labels.tiles import TileLabels, tile_labels
from models.targets import Targets
from models.tiling.grid import TileGrid

__all__ = [
    "TileDataset",
    "TileSource",
    "feature_objects",
    "feature_tiles",
    "object_crops",
    "pixel_tiles",
]

Ints = NDArray[np.int64]


class TileSource(Protocol):
    """Where a tile's features or pixels come from."""

    @property
    def corners(self) -> Sequence[NDArray[np.float64]]:
        """Of each slide the upper left corners of its tiles (N, 2), in level-0 px."""
        ...

    @property
    def sides_px(self) -> Sequence[float]:
        """Of each slide the side of its tiles, in level-0 px."""
        ...

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

    def corners(self, indices: Ints) -> NDArray[np.float64]:
        """Where tiles lie, by their indices: upper left corners (B, 2) in level-0 px."""
        found = np.zeros((len(indices), 2))
        for number in np.unique(self.slide[indices]).tolist():
            place = np.flatnonzero(self.slide[indices] == number)
            found[place] = self._source.corners[number][self.row[indices[place]]]
        return found

    def sides_px(self, indices: Ints) -> NDArray[np.float64]:
        """The sides of tiles (B,) in level-0 px, by their indices."""
        return np.array(self._source.sides_px, dtype=np.float64)[self.slide[indices]]

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
    if files.files[0].origin.of_objects:
        raise TileError(
            f"the features in {folder} are of tiles around objects, and release {release.name!r} is "
            "of regions; run `pathquorum encode` without --around"
        )
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


def feature_objects(
    release: TrainingRelease,
    folder: Path,
    *,
    open_items: OpenItems = "masked",
    allow_missing: bool = False,
) -> TileDataset:
    """The objects of a release, each as the features of the tile around it.

    Parameters
    ----------
    folder, allow_missing
        See `feature_files`; slides without an object need no file.
    open_items
        See `item_labels`.

    Raises
    ------
    TileError
        As `feature_files` says; or features of other tiles than those around the release's objects.
    """
    require_task(release, "objects")
    with_objects = [slide for slide in release.slides if release.items(slide)]
    files = feature_files(with_objects, folder, allow_missing=allow_missing)
    labels = []
    for file in files.files:
        crops = object_tiles(
            release.items(file.slide),
            release.classes,
            release.raters,
            file.origin.side_px,
            open_items=open_items,
        )
        corners = np.column_stack([crops.x_px, crops.y_px])
        if not (file.origin.of_objects and np.array_equal(file.coordinates, corners)):
            raise TileError(
                f"feature file {file.path.name!r} is not of the objects of release "
                f"{release.name!r}; run `pathquorum encode --release {release.name} --around "
                "objects`",
                path=file.path,
            )
        labels.append(crops.labels)
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
    sides = [grids[slide.name].side_px for slide in slides]
    source = _TilePixels(SlidePixels(slides), corners, sides, settings.mpp, settings.size_px)
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
    sides = [crop.side_px for crop in crops]
    source = _TilePixels(SlidePixels(release.slides), corners, sides, mpp, size_px)
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
        self.corners = [file.coordinates for file in files.files]
        self.sides_px = [file.origin.side_px for file in files.files]

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
        sides_px: Sequence[float],
        mpp: float,
        size_px: int,
    ) -> None:
        self.corners, self.sides_px = corners, sides_px
        self._pixels, self._mpp, self._size_px = pixels, mpp, size_px

    def load(self, slide: Ints, row: Ints) -> torch.Tensor:
        loaded = torch.empty((len(slide), 3, self._size_px, self._size_px), dtype=torch.uint8)
        for place, (on, number) in enumerate(zip(slide.tolist(), row.tolist(), strict=True)):
            x_px, y_px = self.corners[on][number].tolist()
            tile = self._pixels.read(on, x_px, y_px, mpp=self._mpp, size_px=self._size_px)
            loaded[place] = torch.from_numpy(tile).permute(2, 0, 1)  # [h, w, 3] -> [3, h, w]
        return loaded
