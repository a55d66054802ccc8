"""One slide under a model of masks: its windows, and what is added up of its pixels.

Shapes: K classes, R raters, h x W pixels of a band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
import torch
from numpy.typing import NDArray

from annotation.slides import read_slide
from consensus.consensus_items import EXCLUDED
from models.datasets.releases import ReleasedSlide, TrainingRelease
from models.evaluation.contradictions import ContradictedRegion, Contradictions
from models.evaluation.outlines import MOST_OUTLINE_PX, OutlineTrace
from models.evaluation.pixel_tallies import PatternTally, PixelSample, Sampled
from models.evaluation.surfaces import surface_distances
from models.labels.masks import SlideMasks
from models.reading.plan import plan_reading
from models.segmentation.training import to_input
from models.segmentation.windows import Band, Compute, Windows, blended_bands
from models.targets import OPEN

__all__ = ["JudgedSlide", "SlideFrame", "judge_slide"]

Codes = NDArray[np.int16]
ReadAt = Callable[[float, float], NDArray[np.uint8]]
"""The pixels of the window whose corner is at a place in level-0 pixels."""

_COLUMNS_AT_ONCE = 1024
_MOST_REGIONS = 1000


@dataclass(frozen=True)
class SlideFrame:
    """A slide as the model's picture: upper left corner and pixel in level-0 px, and its size."""

    x_px: float
    y_px: float
    step_px: float
    width_px: int
    height_px: int
    windows: Windows

    @classmethod
    def of(cls, slide: ReleasedSlide, path: Path, mpp: float, size_px: int) -> SlideFrame:
        """The frame of a slide, or of what was scanned of it.

        Raises
        ------
        InputError
            The slide is too coarse for these pixels.
        """
        record = read_slide(path, mpp=slide.mpp, hash_files=False)
        step = plan_reading(record, mpp=mpp, size_px=size_px).side_px / size_px
        left, top, width, height = record.bounds or (0, 0, record.width_px, record.height_px)
        return cls(
            float(left),
            float(top),
            step,
            max(1, round(width / step)),
            max(1, round(height / step)),
            Windows(size_px=size_px),
        )


@dataclass(frozen=True, eq=False)
class JudgedSlide:
    """What is known of a slide's pixels once the model has gone over them.

    Attributes
    ----------
    kinds, pixels : shapes (m, 2 + R), (m,)
        What the consensus, the model and each rater say, and of how many pixels.
    sample
        Probabilities of some pixels.
    distances_um : shape (1 + R, K, 2)
        See :class:`models.evaluation.mask_figures.MaskDistances`.
    regions, regions_left_out
        Where model and consensus differ, and how many such regions are not among them.
    untraced
        Classes whose outlines are too long for a distance.
    """

    kinds: NDArray[np.int64]
    pixels: NDArray[np.int64]
    sample: Sampled
    distances_um: NDArray[np.float64]
    regions: list[ContradictedRegion]
    regions_left_out: int
    untraced: tuple[str, ...]

    def notes(self, slide: str) -> list[str]:
        """What is not among the figures and the list."""
        told = [
            f"on slide {slide!r} an outline of {name} has more than {MOST_OUTLINE_PX:,} pixels: no "
            "distance is taken of it"
            for name in self.untraced
        ]
        if self.regions_left_out:
            told.append(
                f"on slide {slide!r} the model contradicts the consensus in "
                f"{self.regions_left_out:,} more regions, smaller than those that were looked at"
            )
        return told


def judge_slide(
    network: torch.nn.Module,
    release: TrainingRelease,
    slide: ReleasedSlide,
    frame: SlideFrame,
    read: ReadAt,
    *,
    most_sampled: int,
    rng: np.random.Generator,
    details: bool,
) -> JudgedSlide:
    """Go over a slide once.

    Parameters
    ----------
    most_sampled
        Pixels of a class whose probabilities are kept.
    rng
        Draws them.
    details
        Also trace outlines, and collect regions in which the model contradicts the consensus.
    """
    labels = _Labels(release, slide, frame)
    n_classes, n_raters = len(release.classes), len(release.raters)
    kinds, sample = PatternTally(), PixelSample(n_classes, most_sampled, rng)
    traces = _Traces(n_classes, n_raters, frame.width_px) if details else None
    least_um2 = release.frozen.consensus.protocol.dispute.min_area_um2
    regions = Contradictions(
        n_classes,
        frame.width_px,
        least_pixels=least_um2 / (frame.step_px * slide.mpp) ** 2,
        most=_MOST_REGIONS,
    )
    for band in blended_bands(
        _probabilities_by(network),
        lambda left, top, _: read(
            frame.x_px + left * frame.step_px, frame.y_px + top * frame.step_px
        ),
        width_px=frame.width_px,
        height_px=frame.height_px,
        channels=n_classes,
        windows=frame.windows,
        wanted=lambda left, top: labels.any_in(
            left, top, frame.windows.size_px, frame.windows.size_px
        ),
    ):
        hard, votes = labels.of(band)
        said = band.values.argmax(axis=0).astype(np.int16)
        rated = (hard != OPEN) | (votes != OPEN).any(axis=0)
        if rated.any():
            kinds.add([hard[rated], said[rated], *(one[rated] for one in votes)])
            known = hard != OPEN
            sample.add(band.values[:, known].T, hard[known])
        if traces is not None:
            traces.add(said, hard, votes)
            regions.add(band.values, hard, said)
    said_of, amount = kinds.patterns(2 + n_raters)
    um, untraced = np.zeros((0, n_classes, 2)), set[int]()
    if traces is not None:
        um, untraced = traces.distances_um(frame.step_px * slide.mpp)
    return JudgedSlide(
        kinds=said_of,
        pixels=amount,
        sample=sample.taken(),
        distances_um=um,
        regions=regions.regions(),
        regions_left_out=regions.left_out,
        untraced=tuple(release.classes[number] for number in sorted(untraced)),
    )


def _probabilities_by(network: torch.nn.Module) -> Compute:
    """Class probabilities (b, K, s, s) of windows (b, s, s, 3), at temperature 1."""
    network.eval()
    device = next(network.parameters()).device

    @torch.no_grad()
    def compute(pixels: NDArray[np.uint8], _: list[int], __: int) -> NDArray[np.float32]:
        logits = network(to_input(pixels).to(device)).float()
        made: NDArray[np.float32] = torch.softmax(logits, dim=1).cpu().numpy()
        return made

    return compute


class _Labels:
    """What consensus and raters say of a slide's pixels, band by band."""

    def __init__(self, release: TrainingRelease, slide: ReleasedSlide, frame: SlideFrame) -> None:
        items = release.items(slide)
        self._masks = SlideMasks(items, release.classes, release.raters)
        self._n_raters, self._frame = len(release.raters), frame
        rated = [one.geometry for one in items if one.geometry and one.state != EXCLUDED]
        self._tree = shapely.STRtree(rated)

    def any_in(self, left: int, top: int, width: int, height: int) -> bool:
        """Whether a rectangle of the frame touches anything rated."""
        frame = self._frame
        box = shapely.box(
            frame.x_px + left * frame.step_px,
            frame.y_px + top * frame.step_px,
            frame.x_px + (left + width) * frame.step_px,
            frame.y_px + (top + height) * frame.step_px,
        )
        return bool(len(self._tree.query(box, predicate="intersects")))

    def of(self, band: Band) -> tuple[Codes, Codes]:
        """Classes of the consensus (h, W) and of each rater (R, h, W); -1 where nothing is said."""
        height, width = band.values.shape[1:]
        frame = self._frame
        hard = np.full((height, width), OPEN, dtype=np.int16)
        votes = np.full((self._n_raters, height, width), OPEN, dtype=np.int16)
        for left in range(0, width, _COLUMNS_AT_ONCE):
            columns = min(_COLUMNS_AT_ONCE, width - left)
            if not self.any_in(left, band.top_px, columns, height):
                continue
            mask = self._masks.window(
                frame.x_px + left * frame.step_px,
                frame.y_px + band.top_px * frame.step_px,
                frame.step_px,
                columns,
                height,
            )
            hard[:, left : left + columns] = mask.hard
            votes[:, :, left : left + columns] = mask.votes
        return hard, votes


class _Traces:
    """The outlines of the model and of each reference, over what the reference says anything of."""

    def __init__(self, n_classes: int, n_raters: int, width_px: int) -> None:
        self._n_classes = n_classes
        self._pairs = [
            (OutlineTrace(n_classes, width_px), OutlineTrace(n_classes, width_px))
            for _ in range(1 + n_raters)
        ]

    def add(self, said: Codes, hard: Codes, votes: Codes) -> None:
        """The next rows."""
        for (found, wanted), reference in zip(self._pairs, (hard, *votes), strict=True):
            found.add(np.where(reference == OPEN, np.int16(OPEN), said))
            wanted.add(reference)

    def distances_um(self, mpp: float) -> tuple[NDArray[np.float64], set[int]]:
        """Average and 95 % Hausdorff distance (1 + R, K, 2), NaN where there is none.

        Beside it the classes that have none because an outline of theirs is too long.
        """
        um = np.full((len(self._pairs), self._n_classes, 2), np.nan)
        untraced = set()
        for reference, (found, wanted) in enumerate(self._pairs):
            outlines = zip(found.points(), wanted.points(), strict=True)
            for number, (one, other) in enumerate(outlines):
                if one is None or other is None:
                    untraced.add(number)
                    continue
                made = surface_distances(one, other, mpp)
                if made is not None:
                    um[reference, number] = made.average_um, made.hausdorff_95_um
        return um, untraced
