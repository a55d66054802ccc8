"""Slides by masks: windows over the tissue, blended without seams, from top to bottom.

Memory holds one row of windows. Windows without tissue are not computed, and what is no tissue
counts in no figure and belongs to no region.

Shapes: T passes, b windows, s side of a window, K classes, rows x W pixels of a band, N tiles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.encoding import Progress, TissueTiles
from models.prediction.ensemble import Pass
from models.prediction.regions import Outlined, RegionRows
from models.prediction.scores import SinglePass, SlideScores
from models.prediction.settings import PredictionSettings
from models.prediction.uncertainty import Spread, entropy_of
from models.reader import Reader
from models.reading.ahead import iterate
from models.segmentation.training import to_input
from models.segmentation.windows import Band, Windows, blended_bands
from models.tiling.settings import TileSettings

__all__ = ["PredictedMasks", "predict_masks"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PredictedMasks:
    """A slide's scores, those of its tiles, where these lie (N, 2), and its regions."""

    slide: SlideScores
    tiles: Spread
    coordinates: Floats
    regions: Outlined


def predict_masks(
    reader: Reader,
    tissue: TissueTiles,
    passes: Sequence[Pass],
    plain: Pass,
    *,
    classes: tuple[str, ...],
    tiles: TileSettings,
    settings: PredictionSettings,
    progress: Progress | None = None,
) -> PredictedMasks:
    """What passes say of a slide's pixels.

    Parameters
    ----------
    plain
        The pass without dropout; where `passes` begins with it, it is not made twice.
    tiles
        Of the windows: their resolution and side.
    """
    image = _Image(reader, tissue, tiles)
    windows = Windows(size_px=tiles.size_px, overlap=settings.overlap, batch=settings.batch)
    lefts, tops = windows.starts(image.width), windows.starts(image.height)
    corners = [(left, top) for top in tops for left in lefts if image.has_tissue(left, top)]
    x, y = np.array(corners, dtype=np.float64).reshape(-1, 2).T
    pixels = iterate(
        reader,
        image.left_px + x * image.scale,
        image.top_px + y * image.scale,
        mpp=tiles.mpp,
        size_px=tiles.size_px,
        threads=settings.threads,
        ahead=2 * settings.batch,
    )

    def read(*_: int) -> NDArray[np.uint8]:
        """The next window: they are asked for in the order of the corners."""
        index, window = next(pixels)
        if progress is not None:
            progress(index + 1, len(corners))
        return window

    window_passes = _WindowPasses(image, windows, passes, plain, len(classes))
    bands = blended_bands(
        window_passes,
        read,
        width_px=image.width,
        height_px=image.height,
        channels=3 * len(classes) + 1,
        windows=windows,
        wanted=image.has_tissue,
    )
    regions = RegionRows(classes, *image.edges_px)
    collected = _Collected(image, len(classes))
    with closing(pixels):
        for band in bands:
            collected.add(band, regions)
    return PredictedMasks(
        collected.slide(window_passes.sums),
        collected.tiles(),
        collected.coordinates(),
        regions.outlined(mpp=reader.slide.mpp, min_region_um2=settings.min_region_um2),
    )


class _Image:
    """A slide at the resolution of the windows; pixels are counted from what was scanned of it.

    Attributes
    ----------
    left_px, top_px, scale
        Where it begins, and the side of a pixel, in level-0 pixels.
    width, height
        In its own pixels.
    """

    def __init__(self, reader: Reader, tissue: TissueTiles, tiles: TileSettings) -> None:
        slide = reader.slide
        self.left_px, self.top_px, width_px, height_px = slide.bounds or (
            0, 0, slide.width_px, slide.height_px,
        )  # fmt: skip
        self.size = tiles.size_px
        self.scale = tissue.grid.side_px / tiles.size_px
        self.width = math.ceil(width_px / self.scale - 1e-9)
        self.height = math.ceil(height_px / self.scale - 1e-9)
        self.edges_px = (
            self.left_px + np.minimum(np.arange(self.width + 1) * self.scale, width_px),
            self.top_px + np.minimum(np.arange(self.height + 1) * self.scale, height_px),
        )
        mask = tissue.mask
        self._tissue = mask.tissue
        self._columns, self._rows = (
            np.clip(
                ((begin + (np.arange(length) + 0.5) * self.scale - origin) / mask.cell_px).astype(
                    np.int64
                ),
                0,
                cells - 1,
            )
            for begin, length, origin, cells in (
                (self.left_px, self.width, mask.x_px, mask.tissue.shape[1]),
                (self.top_px, self.height, mask.y_px, mask.tissue.shape[0]),
            )
        )

    def tissue(self, left: int, top: int, width: int, height: int) -> NDArray[np.bool_]:
        """Which pixels are tissue, (height, width); none is beyond the image."""
        rows, columns = self._rows[top : top + height], self._columns[left : left + width]
        found = np.zeros((height, width), dtype=bool)
        found[: len(rows), : len(columns)] = self._tissue[np.ix_(rows, columns)]
        return found

    def has_tissue(self, left: int, top: int) -> bool:
        """Whether a window holds any."""
        rows = self._rows[top : top + self.size]
        columns = self._columns[left : left + self.size]
        part = self._tissue[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return bool(part.any())


class _WindowPasses:
    """All passes over some windows at a time; beside it each pass's score of the slide.

    Of each pixel there are mean and variance of each class, what the passes disagree on, and each
    class in the pass without dropout: 3 K + 1 values. In the slide's scores a window counts as it
    does in the blending.
    """

    def __init__(
        self,
        image: _Image,
        windows: Windows,
        passes: Sequence[Pass],
        plain: Pass,
        n_classes: int,
    ) -> None:
        self._image, self._windows = image, windows
        self._lefts, self._tops = windows.starts(image.width), windows.starts(image.height)
        self._passes, self._plain = passes, plain
        self.sums = np.zeros((len(passes), n_classes))
        self._device = next(plain.model.network.parameters()).device

    @torch.no_grad()
    def __call__(
        self, pixels: NDArray[np.uint8], lefts: list[int], top: int
    ) -> NDArray[np.float32]:
        images = to_input(pixels).to(self._device)
        weights = torch.from_numpy(np.stack([self._weights(left, top) for left in lefts])).to(
            self._device
        )
        total = squared = entropy = torch.zeros((), device=self._device)
        single = None
        for number, one in enumerate(self._passes):
            p = _classes(one, images)  # [b, K, s, s]
            self.sums[number] += torch.einsum("bkij,bij->k", p.double(), weights).cpu().numpy()
            total, squared, entropy = total + p, squared + p * p, entropy + _entropy(p)
            single = p if one is self._plain else single
        n = len(self._passes)
        mean = total / n
        variance = (squared / n - mean * mean).clamp(min=0.0)
        disagreed = (_entropy(mean) - entropy / n).clamp(min=0.0)
        single = _classes(self._plain, images) if single is None else single
        found = torch.cat([mean, variance, disagreed[:, None], single], dim=1)
        made: NDArray[np.float32] = found.cpu().numpy()
        return made

    def _weights(self, left: int, top: int) -> Floats:
        """What each pixel of a window counts in the slide's scores, (s, s)."""
        side = self._windows.size_px
        tissue = self._image.tissue(left, top, side, side)
        return self._windows.shares(left, top, self._lefts, self._tops) * tissue


def _classes(one: Pass, images: torch.Tensor) -> torch.Tensor:
    with one.network("batch") as network:
        logits: torch.Tensor = network(images).float()
    return torch.softmax(logits / one.temperature, dim=1)


def _entropy(p: torch.Tensor) -> torch.Tensor:
    """[b, K, s, s] -> [b, s, s]"""
    entropy: torch.Tensor = torch.special.entr(p).sum(dim=1)
    return entropy


class _Collected:
    """Sums over the tissue of each tile of a grid without gaps, band by band."""

    def __init__(self, image: _Image, n_classes: int) -> None:
        self._image, self._k = image, n_classes
        rows = -(-image.height // image.size)
        self._columns = np.arange(0, image.width, image.size)
        # Mean and variance of each class; entropy, disagreement, largest mean; of the single pass
        # largest probability and entropy; pixels.
        self._sums = np.zeros((2 * n_classes + 6, rows, len(self._columns)))

    def add(self, band: Band, regions: RegionRows) -> None:
        """Take a band, whose pixels are also handed on to the regions."""
        k, image = self._k, self._image
        _, n_rows, width = band.values.shape
        inside = image.tissue(0, band.top_px, width, n_rows)
        mean, disagreed, single = band.values[:k], band.values[2 * k], band.values[2 * k + 1 :]
        entropy = _entropy_of_pixels(mean)
        regions.add(band.top_px, inside, mean, band.values[k : 2 * k], entropy, disagreed)
        plain = single.max(axis=0), _entropy_of_pixels(single)
        values = np.concatenate(
            [band.values[: 2 * k], np.stack([entropy, disagreed, mean.max(axis=0), *plain])]
        )
        by_column = np.add.reduceat(
            np.concatenate([values * inside, inside[None]]).astype(np.float64),
            self._columns,
            axis=2,
        )
        row = (band.top_px + np.arange(n_rows)) // image.size
        # [V, rows, columns] -> [rows, V, columns], so that rows are added to rows.
        np.add.at(self._sums.swapaxes(0, 1), row, by_column.swapaxes(0, 1))

    def slide(self, sums: Floats) -> SlideScores:
        """Means over the tissue; ``sums`` (T, K) are each pass's over its pixels."""
        n_pixels = self._sums[-1].sum()
        means = self._sums[2 * self._k : -1].sum(axis=(1, 2)) / n_pixels
        entropy, disagreed, most, single_most, single_entropy = means.tolist()
        single = SinglePass(single_most, single_entropy)
        return SlideScores(sums / n_pixels, entropy, disagreed, most, single)

    def tiles(self) -> Spread:
        """Means over the tissue of each tile that has any."""
        of_tile = self._sums[:, self._held]
        means = of_tile[:-1] / of_tile[-1]
        k = self._k
        return Spread(means[:k].T, means[k : 2 * k].T, means[2 * k], means[2 * k + 1])

    def coordinates(self) -> Floats:
        """Where these tiles begin, (N, 2), in level-0 pixels."""
        row, column = np.nonzero(self._held)
        side_px = self._image.size * self._image.scale
        return np.column_stack(
            [self._image.left_px + column * side_px, self._image.top_px + row * side_px]
        )

    @property
    def _held(self) -> NDArray[np.bool_]:
        return np.asarray(self._sums[-1] > 0)


def _entropy_of_pixels(p: NDArray[np.float32]) -> NDArray[np.float32]:
    """[K, rows, W] -> [rows, W]"""
    return entropy_of(np.moveaxis(p, 0, -1)).astype(np.float32)
