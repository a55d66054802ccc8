"""Connected regions in which a model says another class than the consensus, out of bands of pixels.

A region is all of one class for the consensus and of one other for the model; pixels that touch at
a corner alone are not connected. Memory holds the regions that reach the last row, and of those
that are done the largest.

Shapes: K classes, h rows and W columns of a band, n runs of pixels along rows.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import shapely
from numpy.typing import NDArray

from models.targets import OPEN

__all__ = ["ContradictedRegion", "Contradictions"]

Codes = NDArray[np.int16]
Ints = NDArray[np.int64]

_NO_RUN = -1


@dataclass
class ContradictedRegion:
    """A region, in pixels of the model.

    Attributes
    ----------
    given, suggested
        Class of the consensus, and of the model.
    pixels
        How many it has.
    probability : shape (K,)
        Summed over them.
    """

    given: int
    suggested: int
    pixels: int
    probability: NDArray[np.float64]
    _runs: list[Ints] = field(default_factory=list)

    def outline(self, x_px: float, y_px: float, step_px: float) -> shapely.Geometry:
        """The region in level-0 pixels, exactly along the model's pixels.

        Parameters
        ----------
        x_px, y_px, step_px
            Top left corner of the model's picture, and the side of one of its pixels.
        """
        row, begin, end = np.concatenate(self._runs, axis=1)
        boxes = shapely.box(
            x_px + begin * step_px,
            y_px + row * step_px,
            x_px + end * step_px,
            y_px + (row + 1) * step_px,
        )
        return shapely.union_all(boxes)

    def join(self, other: ContradictedRegion) -> None:
        """Take in another one, which has turned out to be connected."""
        self.pixels += other.pixels
        self.probability += other.probability
        self._runs += other._runs


class Contradictions:
    """Collects the regions of one slide.

    Parameters
    ----------
    n_classes, width_px
        K and W.
    least_pixels
        A region of fewer is left out.
    most
        Regions that are kept, the largest of all.

    Attributes
    ----------
    left_out
        How many regions were large enough and had no room.
    """

    def __init__(self, n_classes: int, width_px: int, *, least_pixels: float, most: int) -> None:
        self._n_classes, self._least_pixels, self._most = n_classes, least_pixels, most
        self._above = np.full(width_px, _NO_RUN, dtype=np.int64)  # the region of each pixel
        self._open: dict[int, ContradictedRegion] = {}
        self._done: list[tuple[int, int, ContradictedRegion]] = []
        self._number = count()
        self._top_px = 0
        self.left_out = 0

    def add(self, probabilities: NDArray[np.float32], given: Codes, said: Codes) -> None:
        """The next rows: probabilities (K, h, W), and what consensus and model say (h, W).

        ``given`` is -1 where nothing is known.
        """
        height, width = given.shape
        if height == 0:
            return
        apart = (given != said) & (given != OPEN)
        if not apart.any():
            self._finish(set())
            self._above[:] = _NO_RUN
            self._top_px += height
            return
        code = np.where(apart, given.astype(np.int64) * self._n_classes + said, _NO_RUN)
        begins = np.ones(code.shape, dtype=np.bool_)
        begins[:, 1:] = code[:, 1:] != code[:, :-1]
        run_of = np.cumsum(begins.ravel()).reshape(code.shape) - 1
        run_of[~apart] = _NO_RUN
        first = np.flatnonzero(begins.ravel())
        length = np.diff(np.append(first, code.size))
        region_of = self._regions(code, run_of, code.ravel()[first])
        pixel = np.flatnonzero(apart.ravel())
        region_of_pixel = region_of[run_of.ravel()[pixel]]
        numbers, place = np.unique(region_of_pixel, return_inverse=True)
        sums = np.stack(
            [
                np.bincount(place, weights=one.ravel()[pixel].astype(np.float64))
                for one in probabilities
            ],
            axis=1,
        )  # [regions, K]
        runs = np.flatnonzero(code.ravel()[first] != _NO_RUN)
        runs = runs[np.argsort(region_of[runs], kind="stable")]
        row, column = np.divmod(first[runs], width)
        table = np.stack([row + self._top_px, column, column + length[runs]])
        cuts = np.searchsorted(region_of[runs], numbers)
        for number, pixels, summed, own in zip(
            numbers.tolist(),
            np.bincount(place).tolist(),
            sums,
            np.split(table, cuts[1:], axis=1),
            strict=True,
        ):
            region = self._open[number]
            region.pixels += pixels
            region.probability = region.probability + summed
            region._runs.append(own)
        self._above = np.where(apart[-1], region_of[run_of[-1]], _NO_RUN)
        self._finish(set(np.unique(self._above).tolist()))
        self._top_px += height

    def regions(self) -> list[ContradictedRegion]:
        """The regions, the largest first; nothing comes after."""
        self._finish(set())
        return [region for _, _, region in sorted(self._done, key=lambda one: (-one[0], one[1]))]

    def _regions(self, code: Ints, run_of: Ints, code_of_run: Ints) -> Ints:
        """The open region of each run (n,), old ones joined where a run connects them."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        below = (code[1:] == code[:-1]) & (code[1:] != _NO_RUN)
        n_runs = len(code_of_run)
        pairs = np.unique(np.stack([run_of[:-1][below], run_of[1:][below]]), axis=1)
        links = coo_array((np.ones(pairs.shape[1]), tuple(pairs)), shape=(n_runs, n_runs))
        n_parts, part = connected_components(links, directed=False)
        # What hangs together within the band may hang on to several regions above, and they on it.
        of_part: list[set[int]] = [set() for _ in range(n_parts)]
        touching = (self._above != _NO_RUN) & (code[0] != _NO_RUN)
        touched = np.unique(np.stack([part[run_of[0][touching]], self._above[touching]]), axis=1)
        parts_of: dict[int, list[int]] = {}
        code_of_part = np.full(n_parts, _NO_RUN, dtype=np.int64)
        code_of_part[part] = code_of_run
        for one, above in touched.T.tolist():
            region = self._open[above]
            if region.given * self._n_classes + region.suggested == code_of_part[one]:
                of_part[one].add(above)
                parts_of.setdefault(above, []).append(one)
        number_of = np.full(n_parts, _NO_RUN, dtype=np.int64)
        for start in np.flatnonzero(code_of_part != _NO_RUN).tolist():
            if number_of[start] != _NO_RUN:
                continue
            number = next(self._number)
            region = ContradictedRegion(
                *divmod(int(code_of_part[start]), self._n_classes), 0, np.zeros(self._n_classes)
            )
            self._open[number] = region
            waiting = [start]
            while waiting:
                one = waiting.pop()
                if number_of[one] != _NO_RUN:
                    continue
                number_of[one] = number
                for above in of_part[one]:
                    if above in self._open:
                        region.join(self._open.pop(above))
                        waiting += parts_of[above]
        found: Ints = number_of[part]
        return found

    def _finish(self, reaching: set[int]) -> None:
        """Close the regions that do not reach the last row."""
        for number in [one for one in self._open if one not in reaching]:
            region = self._open.pop(number)
            if region.pixels < self._least_pixels:
                continue
            heapq.heappush(self._done, (region.pixels, -number, region))
            if len(self._done) > self._most:
                heapq.heappop(self._done)
                self.left_out += 1
