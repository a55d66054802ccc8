"""Sliding windows over an image of any size, blended without seams and in bounded memory.

Windows go from left to right and from top to bottom. What no later window reaches is given out, so
that memory holds one row of windows, however tall the image is.

Shapes: K classes, C values a pixel, H x W pixels of the image, s of a window's side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from annotation.errors import InputError

__all__ = [
    "Band",
    "Blending",
    "Compute",
    "Windows",
    "blended_bands",
    "predict_bands",
    "predict_mask",
]

Blending = Literal["gaussian", "hann", "flat"]
ReadWindow = Callable[[int, int, int], NDArray[np.uint8]]
"""Left, top and side of a window to its pixels (s, s, 3); beyond the image it fills up."""
Compute = Callable[[NDArray[np.uint8], list[int], int], NDArray[np.float32]]
"""Pixels (b, s, s, 3) of windows, where each begins, and their top, to values (b, C, s, s)."""

_SIGMA_OF_SIDE = 1 / 8
_LEAST_WEIGHT = 1e-3


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

    def shares(self, left: int, top: int, lefts: list[int], tops: list[int]) -> NDArray[np.float64]:
        """What a window counts in the mean at each of its pixels, (s, s), among all windows."""
        rights = tuple(other - left for other in lefts if abs(other - left) < self.size_px)
        downs = tuple(other - top for other in tops if abs(other - top) < self.size_px)
        return _shares(self, rights, downs)


@lru_cache(maxsize=64)  # but for rounding and at the edges, neighbours lie the same way
def _shares(
    windows: Windows, rights: tuple[int, ...], downs: tuple[int, ...]
) -> NDArray[np.float64]:
    """By how far to the right and down all windows lie that overlap one, itself among them."""
    weights = windows.weights().astype(np.float64)
    total = np.zeros_like(weights)
    for down in downs:
        for right in rights:
            here = _overlapping(down), _overlapping(right)
            total[here] += weights[_overlapping(-down), _overlapping(-right)]
    shares: NDArray[np.float64] = weights / total
    shares.setflags(write=False)
    return shares


@dataclass(frozen=True, eq=False)
class Band:
    """Rows of an image that are done: ``values`` (C, rows, W) from row ``top_px`` on.

    Of class probabilities C is K. Where no window lies, all values are 0.
    """

    top_px: int
    values: NDArray[np.float32]


def blended_bands(
    compute: Compute,
    read: ReadWindow,
    *,
    width_px: int,
    height_px: int,
    channels: int,
    windows: Windows,
    wanted: Callable[[int, int], bool] | None = None,
) -> Iterator[Band]:
    """Values of an image's pixels, from top to bottom: the mean over windows.

    Parameters
    ----------
    compute
        Called for some of a row's windows at a time.
    read
        Gives the pixels of a window; called once for each that is wanted, in their order.
    channels
        C, of what ``compute`` gives.
    wanted
        Whether a window, by left and top, is computed at all; None: every one.

    Yields
    ------
    Band
        Without gaps and without overlap.
    """
    lefts, tops = windows.starts(width_px), windows.starts(height_px)
    row = _RowOfWindows(windows, width_px, channels)
    for top, following in pairwise([*tops, height_px]):
        chosen = [left for left in lefts if wanted is None or wanted(left, top)]
        for some in _batches(chosen, windows.batch):
            pixels = np.stack([read(left, top, windows.size_px) for left in some])
            row.add(some, compute(pixels, some, top))
        yield Band(top, row.take(following - top))


@torch.no_grad()
def predict_bands(
    network: torch.nn.Module,
    read: ReadWindow,
    *,
    classes: int,
    width_px: int,
    height_px: int,
    windows: Windows,
    to_input: Callable[[NDArray[np.uint8]], torch.Tensor],
) -> Iterator[Band]:
    """Class probabilities of an image, from top to bottom.

    Parameters
    ----------
    network
        Gives logits (b, K, s, s); it is put into evaluation mode.
    read
        See `blended_bands`.
    classes
        K.
    to_input
        From pixels (b, s, s, 3) to what the network takes.

    Yields
    ------
    Band
        Of each pixel the values sum to 1.
    """
    network.eval()
    device = next(network.parameters()).device

    def compute(pixels: NDArray[np.uint8], _: list[int], __: int) -> NDArray[np.float32]:
        logits = network(to_input(pixels).to(device)).float()
        made: NDArray[np.float32] = torch.softmax(logits, dim=1).cpu().numpy()
        return made

    yield from blended_bands(
        compute,
        read,
        width_px=width_px,
        height_px=height_px,
        channels=classes,
        windows=windows,
    )


def predict_mask(bands: Iterator[Band]) -> NDArray[np.float32]:
    """All bands as one array (K, H, W), for what fits into memory."""
    return np.concatenate([band.values for band in bands], axis=1)


class _RowOfWindows:
    """What windows said of the rows that the current ones cover, as a weighted mean."""

    def __init__(self, windows: Windows, width_px: int, channels: int) -> None:
        self._side, self._width_px = windows.size_px, width_px
        self._weights = windows.weights()
        reach_px = max(width_px, windows.size_px)
        self._held = np.zeros((self._side, reach_px), dtype=np.float32)
        self._total = np.zeros((channels, self._side, reach_px), dtype=np.float32)

    def add(self, lefts: list[int], values: NDArray[np.float32]) -> None:
        """Add windows (b, C, s, s) by where they begin."""
        for left, found in zip(lefts, values, strict=True):
            self._total[:, :, left : left + self._side] += found * self._weights
            self._held[:, left : left + self._side] += self._weights

    def take(self, rows: int) -> NDArray[np.float32]:
        """The upper rows (C, rows, W), which no later window reaches, and move on below them."""
        held = self._held[:rows, : self._width_px]
        total = self._total[:, :rows, : self._width_px]
        done = np.divide(total, held, out=np.zeros_like(total), where=held > 0)
        for kept in (self._total, self._held):
            kept[..., : self._side - rows, :] = kept[..., rows:, :].copy()
            kept[..., self._side - rows :, :] = 0
        return done


def _batches(values: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _overlapping(step: int) -> slice:
    """The rows of a window that another one, so many rows further on, covers too."""
    return slice(step, None) if step >= 0 else slice(None, step)
