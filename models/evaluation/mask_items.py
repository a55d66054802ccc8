"""What a model of masks is judged on: every pixel of a part's slides of which anybody said anything.

Windows slide over each slide and are blended, row by row, and what is needed of the pixels is added
up on the way: no more than a row of windows is ever held, however large the slide. Windows that touch
nothing rated are not computed.

Shapes: n sampled pixels, m kinds of pixels, S slides, R raters, K classes, h x W pixels of a band.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray

from annotation.errors import InputError, SlideError
from annotation.slide_images import image_of
from models.datasets.pixels import SlidePixels
from models.datasets.releases import ReleasedSlide, TrainingRelease, targets_of
from models.datasets.tile_targets import require_task
from models.errors import ModelFileError
from models.evaluation.calibration import tempered
from models.evaluation.doubts import Doubt, Place, doubts_of
from models.evaluation.figures import scored
from models.evaluation.mask_figures import MaskDistances
from models.evaluation.mask_slides import JudgedSlide, SlideFrame, judge_slide
from models.evaluation.predicted import Called, Predicted
from models.model_file import ModelDescription, TrainedModel
from models.noise.objectives import one_hot
from models.targets import OPEN, Targets

__all__ = ["JudgedMasks", "judged_masks"]

_SAMPLED_PIXELS = 200_000
"""Of all slides and classes together, for the figures that need probabilities."""

_LEAST_SAMPLED = 100
"""Of a class on a slide, however many slides there are."""


@dataclass(frozen=True)
class _Region:
    """A region that the model doubts: where it lies, and its mean probabilities (K,)."""

    place: Place
    outline: shapely.Geometry
    given: int
    probability: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JudgedMasks:
    """The slides of a release of regions, as pixels.

    Attributes
    ----------
    release
        With its images where they lie now.
    mpp, size_px
        Of the windows, as the model was trained.
    seed
        Of the sample of pixels.
    """

    release: TrainingRelease
    mpp: float
    size_px: int
    seed: int
    skipped: tuple[tuple[str, str], ...]
    kind: str = "pixel"

    @property
    def slides(self) -> Collection[str]:
        """Those that have an image."""
        gone = {name for name, _ in self.skipped}
        return [slide.name for slide in self.release.slides if slide.name not in gone]

    def require_fit(self, described: ModelDescription, model: str) -> None:
        """Refuse a model of other classes, or of windows of another size or resolution."""
        if tuple(described.classes) != self.release.classes:
            raise ModelFileError(
                f"model {model!r} tells the classes {', '.join(described.classes)} apart, and the "
                f"release {', '.join(self.release.classes)}; train on a release of these classes",
                model=model,
            )
        found = described.input.get("mpp"), described.input.get("size_px")
        if described.input.get("kind") != "tiles" or found != (self.mpp, self.size_px):
            raise ModelFileError(
                f"model {model!r} does not look at windows of {self.size_px} px at {self.mpp:g} "
                "microns per pixel, as the model beside it does; judge them apart",
                model=model,
            )

    def predict(
        self, model: TrainedModel, slides: Collection[str], *, details: bool = False
    ) -> Predicted:
        """Go over the pixels of some slides.

        Raises
        ------
        SlideError, RefusedError
            An image is absent, too coarse, or not the one that was released.
        """
        chosen = [slide for slide in self.release.slides if slide.name in slides]
        pixels = SlidePixels(chosen)
        judged: list[JudgedSlide] = []
        regions: list[_Region] = []
        notes: list[str] = []
        try:
            for number, slide in enumerate(chosen):
                frame = SlideFrame.of(slide, image_of(slide), self.mpp, self.size_px)
                made = judge_slide(
                    model.network,
                    self.release,
                    slide,
                    frame,
                    lambda x, y, number=number: pixels.read(  # type: ignore[misc]
                        number, x, y, mpp=self.mpp, size_px=self.size_px
                    ),
                    most_sampled=self._most_sampled(len(chosen)),
                    rng=np.random.default_rng([self.seed, number]),
                    details=details,
                )
                regions += self._regions(slide, frame, made)
                judged.append(made)
                notes += made.notes(slide.name)
        finally:
            pixels.close()
        return self._predicted(chosen, judged, regions, notes, details=details)

    def doubts(self, found: Predicted, temperature: float, part: str) -> list[Doubt]:
        """Connected regions in which the model confidently says another class than the consensus.

        A region stands for itself by its mean probabilities, at the temperature; thresholds go by
        the sampled pixels.
        """
        regions: list[_Region] = found.details
        if not regions:
            return []
        names = sorted({one.place.slide for one in regions})
        slides = [slide for slide in self.release.slides if slide.name in names]
        number_of = {slide.name: number for number, slide in enumerate(slides)}
        targets = self._targets(
            slides,
            np.array([number_of[one.place.slide] for one in regions], dtype=np.int64),
            np.array([one.given for one in regions], dtype=np.int64),
            None,
            np.array([one.place.area_um2 for one in regions]),
        )
        probabilities = np.stack([one.probability for one in regions])
        return doubts_of(
            scored(tempered(probabilities, temperature), targets),
            [one.place for one in regions],
            part=part,
            bearing=found.at(temperature),
            outlines=[one.outline for one in regions],
        )

    def _most_sampled(self, n_slides: int) -> int:
        """Pixels of a class on a slide."""
        return max(_LEAST_SAMPLED, _SAMPLED_PIXELS // max(1, n_slides * len(self.release.classes)))

    def _regions(self, slide: ReleasedSlide, frame: SlideFrame, made: JudgedSlide) -> list[_Region]:
        um2 = self.mpp**2
        found = []
        for region in made.regions:
            outline = region.outline(frame.x_px, frame.y_px, frame.step_px)
            left, top, right, bottom = outline.bounds
            side = max(right - left, bottom - top)
            found.append(
                _Region(
                    Place(slide.name, left, top, side, region.pixels * um2),
                    outline,
                    region.given,
                    region.probability / region.probability.sum(),
                )
            )
        return found

    def _predicted(
        self,
        slides: list[ReleasedSlide],
        judged: list[JudgedSlide],
        regions: list[_Region],
        notes: list[str],
        *,
        details: bool,
    ) -> Predicted:
        um2, n_classes = self.mpp**2, len(self.release.classes)
        samples = [one.sample for one in judged]
        of_sample = np.repeat(np.arange(len(slides)), [len(one.hard) for one in samples])
        hard = _joined([one.hard for one in samples], (0,), np.int64)
        sampled = self._targets(
            slides,
            of_sample,
            hard,
            None,
            _joined([one.stands_for for one in samples], (0,), np.float64) * um2,
        )
        of_kind = np.repeat(np.arange(len(slides)), [len(one.pixels) for one in judged])
        n_columns = 2 + len(self.release.raters)
        kinds = _joined([one.kinds for one in judged], (0, n_columns), np.int64)
        amount = _joined([one.pixels for one in judged], (0,), np.int64)
        targets = self._targets(slides, of_kind, kinds[:, 0], kinds[:, 2:], amount * um2)
        distances = None
        if details:
            of_slides = self._targets(
                slides,
                np.arange(len(slides)),
                np.zeros(len(slides), np.int64),
                None,
                np.ones(len(slides)),
            )
            distances = MaskDistances(
                np.stack([one.distances_um for one in judged]), of_slides.group, of_slides.site
            )
        return Predicted(
            _joined([one.probabilities for one in samples], (0, n_classes), np.float64),
            sampled,
            Called(targets, one_hot(kinds[:, 1], n_classes).astype(np.float64), amount, distances),
            regions,
            tuple(notes),
        )

    def _targets(
        self,
        slides: list[ReleasedSlide],
        slide: NDArray[np.int64],
        hard: NDArray[np.int64],
        votes: NDArray[np.int64] | None,
        weight: NDArray[np.float64],
    ) -> Targets:
        """Targets on slides; without votes nobody is said to have rated."""
        posterior = one_hot(hard, len(self.release.classes)).astype(np.float32)
        return targets_of(
            self.release,
            slides,
            slide,
            posterior=posterior,
            hard=hard,
            votes=np.full((len(hard), len(self.release.raters)), OPEN) if votes is None else votes,
            weight=weight.astype(np.float32),
            decided=np.zeros(len(hard), dtype=np.bool_),
        )


def judged_masks(
    release: TrainingRelease,
    described: ModelDescription,
    slides_root: Path | None,
    *,
    seed: int,
    allow_missing: bool,
) -> JudgedMasks:
    """The slides of a release of regions, as a model of masks looks at them.

    Parameters
    ----------
    slides_root
        Where the images lie now, under the names of their files; None: where they lay.
    allow_missing
        Leave out slides without an image, instead of refusing.

    Raises
    ------
    InputError
        The release is of slides or objects.
    ModelFileError
        The model's file does not say what it looks at.
    SlideError
        A slide has no image.
    """
    require_task(release, "regions")
    mpp, size_px = described.input.get("mpp"), described.input.get("size_px")
    if not (isinstance(mpp, int | float) and isinstance(size_px, int) and mpp > 0 < size_px):
        raise ModelFileError(
            "the model's file does not say at which resolution and size it looks at windows; "
            "evaluate one that `train` made"
        )
    moved = release.with_images_in(slides_root)
    skipped = []
    for slide in moved.slides:
        try:
            image_of(slide)
        except SlideError as error:
            if not allow_missing:
                raise
            skipped.append((slide.name, error.message))
    if len(skipped) == len(moved.slides):
        raise InputError(f"no slide of release {release.name!r} has an image; give --slides-root")
    return JudgedMasks(moved, float(mpp), int(size_px), seed, tuple(skipped))


def _joined(parts: list[NDArray], shape: tuple[int, ...], kind: type) -> NDArray:  # type: ignore[type-arg]
    """Arrays one after the other; an empty one of this shape where there is none."""
    return np.concatenate([np.zeros(shape, kind), *parts]).astype(kind)
