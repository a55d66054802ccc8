"""Sliding windows over an image of any size, blended without seams and in bounded memory.

Windows go from left to right and from top to bottom. What no later window reaches is given out, so
that memory holds one row of windows, however tall the image is.

Shapes: K classes, H x W pixels of the image, s of a window's side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from annotation.errors import InputError

__all__ = ["Band", "Blending", "Windows", "predict_bands", "predict_mask"]

Blending = Literal["gaussian", "hann", "flat"]
ReadWindow = Callable[[int, int, int], NDArray[np.uint8]]
"""Left, top and side of a window to its pixels (s, s, 3); beyond the image it fills up."""

_SIGMA_OF_SIDE = 1 / 8
_LEAST_WEIGHT = 1e-3
_NOTHING = 1e-6
"""Stands for the weight of a pixel that no window reached, whose probabilities stay 0."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """How an image is covered.

    Attributes
    ----------
    size_px
        Side of a window.
    overlap
        Part of a window that it shares with the next, at least.
    blending
        How much each pixel of a window counts: ``gaussian`` (sigma an eighth of the side, as
        nnU-Net has it), ``hann``, or ``flat``.
    batch
        Windows at once.
    """

    size_px: int
    overlap: float = 0.5
    blending: Blending = "gaussian"
    batch: int = 4

    def __post_init__(self) -> None:
        if self.size_px < 1 or self.batch < 1:
            raise InputError(
                f"windows of {self.size_px} px, {self.batch} at once: give 1 or more of each"
            )
        if not 0 <= self.overlap < 1:
            raise InputError(f"an overlap of {self.overlap:g} can't be; give 0 or more, below 1")
        if self.blending not in get_args(Blending):
            raise InputError(
                f"there is no blending {self.blending!r}; take one of "
                f"{', '.join(get_args(Blending))}"
            )

    def starts(self, length_px: int) -> list[int]:
        """Where windows begin along a side: evenly, the last one ending with the image."""
        if length_px <= self.size_px:
            return [0]
        step = max(1, round(self.size_px * (1 - self.overlap)))
        gaps = -(-(length_px - self.size_px) // step)
        return [round(i * (length_px - self.size_px) / gaps) for i in range(gaps + 1)]

    def weights(self) -> NDArray[np.float32]:
        """How much each pixel counts, (s, s), 1 in the middle and never 0."""
        place = (np.arange(self.size_px) + 0.5) / self.size_px
        if self.blending == "gaussian":
            along = np.exp(-0.5 * ((place - 0.5) / _SIGMA_OF_SIDE) ** 2)
        elif self.blending == "hann":
            along = np.sin(np.pi * place) ** 2
        else:
            along = np.ones(self.size_px)
        weights: NDArray[np.float64] = np.maximum(np.outer(along, along), _LEAST_WEIGHT)
        return weights.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Band:
    """Rows of an image that are done: ``probabilities`` (K, rows, W) from row ``top_px`` on."""

    top_px: int
    probabilities: NDArray[np.float32]


@torch.no_grad()
def predict_bands(
    network: torch.nn.Module,
    read: ReadWindow,
    *,
    width_px: int,
    height_px: int,
    windows: Windows,
    to_input: Callable[[NDArray[np.uint8]], torch.Tensor],
    temperature: float = 1.0,
    wanted: Callable[[int, int, int], bool] | None = None,
) -> Iterator[Band]:
    """Class probabilities of an image, from top to bottom.

    Parameters
    ----------
    network
        Gives logits (b, K, s, s); it is put into evaluation mode.
    read
        Gives the pixels of a window; called once for each.
    to_input
        From pixels (b, s, s, 3) to what the network takes.
    temperature
        Probabilities are taken to the power of its inverse once they are blended, so that one fitted
        on blended probabilities fits.
    wanted
        Whether a window, by its left, top and side, is of use; None: all are.

    Yields
    ------
    Band
        Without gaps and without overlap; of each pixel the probabilities sum to 1, or are 0 where
        no window was of use.
    """
    network.eval()
    device = next(network.parameters()).device
    lefts, tops = windows.starts(width_px), windows.starts(height_px)
    row = _RowOfWindows(windows, width_px)
    for top, following in pairwise([*tops, height_px]):
        of_use = lefts if wanted is None else [x for x in lefts if wanted(x, top, windows.size_px)]
        if top == 0 and not of_use:
            of_use = lefts[:1]  # it tells how many classes there are
        for some in _batches(of_use, windows.batch):
            pixels = np.stack([read(left, top, windows.size_px) for left in some])
            logits = network(to_input(pixels).to(device)).float()
            row.add(some, torch.softmax(logits, dim=1).cpu().numpy())
        yield Band(top, _tempered(row.take(following - top), temperature))


def predict_mask(bands: Iterator[Band]) -> NDArray[np.float32]:
    """All bands as one array (K, H, W), for what fits into memory."""
    return np.concatenate([band.probabilities for band in bands], axis=1)


def _tempered(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities (K, rows, W) at a temperature; those of a pixel without any stay 0."""
    if temperature == 1:
        return probabilities
    powers = probabilities ** np.float32(1 / temperature)
    total = powers.sum(axis=0)
    shares: NDArray[np.float32] = np.zeros_like(powers)
    np.divide(powers, total, out=shares, where=total > 0)
    return shares


class _RowOfWindows:
    """What windows said of the rows that the current ones cover, as a weighted mean."""

    def __init__(self, windows: Windows, width_px: int) -> None:
        self._side, self._width_px = windows.size_px, width_px
        self._weights = windows.weights()
        self._reach_px = max(width_px, windows.size_px)
        self._held = np.zeros((self._side, self._reach_px), dtype=np.float32)
        self._total = np.zeros((0, self._side, self._reach_px), dtype=np.float32)  # [K, s, reach]

    def add(self, lefts: list[int], probabilities: NDArray[np.float32]) -> None:
        """Add windows (b, K, s, s) by where they begin."""
        if len(self._total) == 0:
            self._total = np.zeros((probabilities.shape[1], *self._held.shape), dtype=np.float32)
        for left, found in zip(lefts, probabilities, strict=True):
            self._total[:, :, left : left + self._side] += found * self._weights
            self._held[:, left : left + self._side] += self._weights

    def take(self, rows: int) -> NDArray[np.float32]:
        """The upper rows (K, rows, W), which no later window reaches, and move on below them."""
        held: NDArray[np.float32] = np.maximum(self._held[:rows, : self._width_px], _NOTHING)
        done: NDArray[np.float32] = self._total[:, :rows, : self._width_px] / held
        for kept in (self._total, self._held):
            kept[..., : self._side - rows, :] = kept[..., rows:, :].copy()
            kept[..., self._side - rows :, :] = 0
        return done


def _batches(values: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
