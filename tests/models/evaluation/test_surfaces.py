"""Distances between outlines that are traced band by band: by hand, by SimpleITK, and properties."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from models.evaluation import outlines
from models.evaluation.outlines import OutlineTrace
from models.evaluation.surfaces import surface_distances

Mask = NDArray[np.bool_]


def blob(seed: int) -> Mask:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(40, 50)), 4)
    return noise > np.quantile(noise, 0.6)


def outline(codes: NDArray[np.int16], heights: tuple[int, ...] = ()) -> list:
    """The outlines of three classes, traced in bands of these heights and one that holds the rest."""
    trace = OutlineTrace(3, codes.shape[1])
    for band in np.split(codes, np.cumsum(heights)):
        trace.add(band)
    return trace.points()


def traced(mask: Mask) -> NDArray[np.int32]:
    return outline(mask.astype(np.int16))[1]


def distances_by_simpleitk(one: Mask, other: Mask, mpp: float) -> list:
    """Of the outline's pixels of one mask from the other's, both drawn by SimpleITK.

    SimpleITK has no outline at the picture's edge either.
    """
    images = []
    for mask in (one, other):
        image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
        image.SetSpacing((mpp, mpp))
        images.append(SimpleITK.LabelContour(image, fullyConnected=False))
    away = SimpleITK.SignedMaurerDistanceMap(
        images[1], squaredDistance=False, useImageSpacing=True, insideIsPositive=False
    )
    at = SimpleITK.GetArrayFromImage(images[0]) == 1
    return np.abs(SimpleITK.GetArrayFromImage(away))[at].tolist()


@given(seed=st.integers(0, 10_000), mpp=st.sampled_from([0.25, 0.5, 2.0]))
@settings(max_examples=25)
def test_distances_are_simpleitks(seed: int, mpp: float) -> None:
    """Average and quantile distances are those that SimpleITK's outlines and distance maps give."""
    found, wanted = blob(seed), blob(seed + 1)
    there = distances_by_simpleitk(found, wanted, mpp)
    back = distances_by_simpleitk(wanted, found, mpp)
    made = surface_distances(traced(found), traced(wanted), mpp)
    assert made is not None
    assert made.average_um == pytest.approx(np.mean(there + back), rel=1e-5)
    assert made.hausdorff_um == pytest.approx(max(there + back), rel=1e-5)
    assert made.hausdorff_95_um == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-5
    )


@given(
    seed=st.integers(0, 10_000),
    heights=st.lists(st.integers(0, 9), max_size=5).map(tuple),
)
@settings(max_examples=40)
def test_bands_make_no_difference(seed: int, heights: tuple[int, ...]) -> None:
    """An outline is the same however high the bands are in which the picture came."""
    codes = blob(seed).astype(np.int16) + blob(seed + 1)
    codes[blob(seed + 2)] = -1
    for one, other in zip(outline(codes, heights), outline(codes), strict=True):
        assert sorted(map(tuple, one)) == sorted(map(tuple, other))


def test_the_unknown_has_no_outline() -> None:
    """A class that ends where nobody has looked has no outline there; where another begins it has."""
    codes = np.zeros((6, 8), np.int16)
    codes[:, 4:6], codes[:, 6:] = 1, -1
    background, tumour, other = outline(codes)
    assert set(background[:, 1].tolist()) == {3}
    assert set(tumour[:, 1].tolist()) == {4}
    assert len(other) == 0


def test_an_outline_that_is_too_long_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up, not cut short; those of other classes stay."""
    monkeypatch.setattr(outlines, "MOST_OUTLINE_PX", 15)
    codes = np.zeros((9, 9), np.int16)
    codes[2:7, 2:7], codes[4, 4] = 1, 2
    background, tumour, speck = outline(codes, (4,))
    assert background is None
    assert tumour is None
    assert speck.tolist() == [[4, 4]]


def test_a_shift_by_hand() -> None:
    """Two squares of one size, 3 px apart along a row: Hausdorff's distance is 3 px in microns."""
    wanted = np.zeros((30, 30), bool)
    wanted[10:20, 5:15] = True
    made = surface_distances(traced(np.roll(wanted, 3, axis=1)), traced(wanted), mpp=0.5)
    assert made is not None
    assert made.hausdorff_um == 1.5


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_a_mask_is_no_distance_from_itself(seed: int) -> None:
    """A mask beside itself is 0 apart, and two masks are as far apart either way round."""
    one, other = traced(blob(seed)), traced(blob(seed + 7))
    same = surface_distances(one, one, 1.0)
    assert same is not None
    assert (same.average_um, same.hausdorff_um) == (0, 0)
    assert surface_distances(one, other, 1.0) == surface_distances(other, one, 1.0)


def test_what_has_no_outline_is_at_no_distance() -> None:
    """Nothing has no outline: there is no distance, neither 0 nor infinite."""
    assert surface_distances(traced(np.zeros((9, 9), bool)), traced(blob(1)), 1.0) is None
