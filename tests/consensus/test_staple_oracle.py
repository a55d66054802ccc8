"""STAPLE held against ITK's, which works pixel by pixel on a raster of the same outlines."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
import SimpleITK as sitk  # noqa: N813  # the name its documentation uses
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from consensus.fusion import staple, staple_of_class
from consensus.overlay import Layer, overlay
from consensus.ratings import Ratings
from consensus.statistics.estimation import Estimation
from consensus.statistics.expectation import maximise

SIDE = 96
CLASSES = ("0", "1", "2")  # the last is the background of the overlay
Outlines = list[list[tuple[shapely.Geometry, int]]]


def outlines(seed: int, n_raters: int = 4) -> Outlines:
    """What each rater drew: blobs of two classes with corners on whole pixels, so that a raster is exact."""
    rng = np.random.default_rng(seed)
    blobs = rng.uniform((15, 15, 8), (80, 80, 20), size=(6, 3))
    drawn: Outlines = []
    for _ in range(n_raters):
        mine = []
        for number, (x, y, radius) in enumerate(blobs):
            if rng.random() < 0.1:
                continue
            left, low, shift = rng.normal(0, 2.5, 3).round()
            boxes = [
                shapely.box(
                    *np.clip(
                        [
                            round(x - across) + left,
                            round(y - up) + low,
                            round(x + across) + left + shift,
                            round(y + up) + low + shift,
                        ],
                        0,
                        SIDE,
                    )
                )
                for across, up in ((radius, radius / 2), (radius / 2, radius))
            ]
            mine.append((shapely.union_all(boxes), (number + (rng.random() < 0.15)) % 2))
        drawn.append(mine)
    return drawn


def from_overlay(drawn: Outlines) -> Ratings:
    """Ratings of the exact overlay: a row a label pattern, its weight the area."""
    faces = overlay(
        [
            Layer(
                rater=f"R{number}",
                geometries=np.array([geometry for geometry, _ in mine], dtype=object),
                codes=np.array([code for _, code in mine], dtype=np.int32),
                domain=None,
            )
            for number, mine in enumerate(drawn)
        ],
        extent=(float(SIDE), float(SIDE)),
        background=2,
        overlap="innermost",
        rule="slide",
    )
    n_patterns, n_raters = faces.patterns.shape
    return Ratings.from_table(
        np.repeat(np.arange(n_patterns), n_raters),
        [f"R{number}" for number in range(n_raters)] * n_patterns,
        faces.patterns.reshape(-1),
        classes=CLASSES,
        weight=np.repeat(faces.pattern_area_px2, n_raters),
    )


def raster(drawn: Outlines) -> NDArray[np.uint8]:
    """The same as pixels, (n_raters, SIDE, SIDE): where outlines overlap, the smaller wins."""
    centre = np.arange(SIDE) + 0.5
    x, y = np.meshgrid(centre, centre)
    images = np.full((len(drawn), SIDE, SIDE), 2, dtype=np.uint8)
    for image, mine in zip(images, drawn, strict=True):
        for geometry, code in sorted(mine, key=lambda one: -one[0].area):
            image[shapely.contains_xy(geometry, x, y)] = code
    return images


def from_raster(images: NDArray[np.uint8]) -> Ratings:
    """Every pixel pattern once, with the number of its pixels."""
    said, count = np.unique(images.reshape(len(images), -1).T, axis=0, return_counts=True)
    return Ratings.from_table(
        np.repeat(np.arange(len(said)), len(images)),
        [f"R{number}" for number in range(len(images))] * len(said),
        said.reshape(-1),
        classes=CLASSES,
        weight=np.repeat(count, len(images)),
    )


def as_images(images: NDArray[np.uint8]) -> list[sitk.Image]:
    return [sitk.GetImageFromArray(image) for image in images]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("code", range(3))
def test_binary_staple_on_exact_areas_is_itks_on_the_raster(seed: int, code: int) -> None:
    """Same prior (the mean of the votes); ITK starts from it, Warfield and we from sure raters."""
    drawn = outlines(seed)
    images = raster(drawn)
    theirs = sitk.STAPLEImageFilter()
    theirs.SetForegroundValue(code)
    posterior = sitk.GetArrayFromImage(theirs.Execute(as_images(images)))
    ours = staple_of_class(from_overlay(drawn), str(code), tolerance=1e-14, max_iterations=5000)
    assert ours.converged
    assert ours.prevalence == pytest.approx((images == code).mean())
    assert ours.sensitivity == pytest.approx(theirs.GetSensitivity(), abs=5e-6)
    assert ours.specificity == pytest.approx(theirs.GetSpecificity(), abs=5e-6)
    # each with what it was taken over, which ITK doesn't say
    assert ours.of_class == pytest.approx([posterior.sum()] * len(images), rel=1e-4)
    assert ours.of_class + ours.of_others == pytest.approx([SIDE**2] * len(images))


def noisy(seed: int) -> NDArray[np.uint8]:
    """Raters who err pixel by pixel, so that no cell of a confusion matrix is empty."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(3), SIDE * SIDE // 3)
    images = np.empty((4, len(truth)), dtype=np.uint8)
    for image in images:
        confusion = 0.6 * np.eye(3) + 0.4 * rng.dirichlet(np.full(3, 5.0), size=3)
        image[:] = (confusion[truth].cumsum(axis=1) > rng.random((len(truth), 1))).argmax(axis=1)
    return images.reshape(4, SIDE, SIDE)


def multi_label(images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """ITK's labels (3 where undecided), and its matrices by rater, class said and true class."""
    theirs = sitk.MultiLabelSTAPLEImageFilter()
    theirs.SetTerminationUpdateThreshold(1e-7)
    theirs.SetMaximumNumberOfIterations(3000)
    labels = sitk.GetArrayFromImage(theirs.Execute(as_images(images)))
    matrices = [np.reshape(theirs.GetConfusionMatrix(i), (-1, 3)) for i in range(len(images))]
    return labels.reshape(-1).astype(np.int64), np.array(matrices)[:, :3]


def labels_of_pixels(images: NDArray[np.uint8], of_pattern: NDArray[np.int64]) -> NDArray[np.int64]:
    pixels = images.reshape(len(images), -1).T
    _, pattern = np.unique(pixels, axis=0, return_inverse=True)
    return of_pattern[pattern.reshape(-1)]


@pytest.mark.parametrize("seed", range(4))
def test_multi_label_staple_is_itks_where_its_start_allows_every_answer(seed: int) -> None:
    images = noisy(seed)
    labels, matrices = multi_label(images)
    ours = staple(from_raster(images), tolerance=1e-13, max_iterations=5000)
    confusion = ours.quality.confusion / ours.quality.confusion.sum(axis=2, keepdims=True)
    assert confusion.transpose(0, 2, 1) == pytest.approx(
        matrices, abs=1e-4
    )  # ITK counts in float32
    assert (labels_of_pixels(images, ours.labels) == labels).mean() > 0.9999


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_itks_multi_label_matrices_give_its_labels_and_can_only_be_raised(seed: int) -> None:
    """The E-step is ITK's; the fit goes on from where ITK ends, and never downhill."""
    images = raster(outlines(seed))
    labels, matrices = multi_label(images)
    problem = Estimation.of(from_raster(images), "staple")
    start = matrices[:, problem.used][:, :, problem.used]
    posterior, theirs = problem.answers.expect(problem.vote_frequency, start)
    decided = labels_of_pixels(images, _on_items(problem, posterior))
    assert ((decided == labels) | (labels == 3)).all()
    ours = maximise(
        problem.answers,
        start=start,
        fixed_prevalence=problem.vote_frequency,
        tolerance=1e-9,
        max_iterations=5000,
    )
    assert ours.log_likelihood >= theirs - 1e-4


def test_itk_stays_where_its_voted_start_has_empty_cells_and_ours_does_not() -> None:
    """ITK starts from voted labels; a cell that is empty then stays so, as no product with 0 grows."""
    higher = 0
    for seed in range(6):
        images = raster(outlines(seed))
        _, matrices = multi_label(images)
        ratings = from_raster(images)
        problem = Estimation.of(ratings, "staple")
        _, theirs = problem.answers.expect(problem.vote_frequency, matrices)
        ours = staple(ratings, tolerance=1e-12, max_iterations=5000).log_likelihood
        assert ours is not None
        higher += ours > theirs + 0.05
    assert higher >= 2


def _on_items(problem: Estimation, posterior: NDArray[np.float64]) -> NDArray[np.int64]:
    of_pattern = np.full(len(problem.patterns.codes), -1)
    of_pattern[problem.rated] = problem.used[posterior.argmax(axis=1)]
    return of_pattern[problem.patterns.of_item]
