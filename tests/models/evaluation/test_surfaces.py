"""Distances between outlines: by hand, by SimpleITK, and properties."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from annotation.errors import InputError
from models.evaluation.surfaces import surface_distances


def blob(seed: int) -> NDArray[np.bool_]:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(40, 50)), 4)
    return noise > np.quantile(noise, 0.6)


def distances_by_simpleitk(one: NDArray[np.bool_], other: NDArray[np.bool_], mpp: float) -> list:
    """Of the outline's pixels of one mask from the other's, both drawn by SimpleITK.

    A frame of nothing stands around the masks: SimpleITK has no outline at the picture's edge.
    """
    images = []
    for mask in (one, other):
        image = SimpleITK.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
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
    made = surface_distances(found, wanted, mpp)
    assert made is not None
    assert made.average_um == pytest.approx(np.mean(there + back), rel=1e-5)
    assert made.hausdorff_um == pytest.approx(max(there + back), rel=1e-5)
    assert made.hausdorff_95_um == pytest.approx(
        max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-5
    )


def test_a_shift_by_hand() -> None:
    """Two squares of one size, 3 px apart along a row: Hausdorff's distance is 3 px in microns."""
    wanted = np.zeros((30, 30), bool)
    wanted[10:20, 5:15] = True
    made = surface_distances(np.roll(wanted, 3, axis=1), wanted, mpp=0.5)
    assert made is not None
    assert made.hausdorff_um == 1.5


@given(seed=st.integers(0, 1000))
@settings(max_examples=10)
def test_a_mask_is_no_distance_from_itself(seed: int) -> None:
    """A mask beside itself is 0 apart, and two masks are as far apart either way round."""
    one, other = blob(seed), blob(seed + 7)
    same = surface_distances(one, one, 1.0)
    assert same is not None
    assert (same.average_um, same.hausdorff_um) == (0, 0)
    assert surface_distances(one, other, 1.0) == surface_distances(other, one, 1.0)


def test_an_empty_mask_is_at_no_distance() -> None:
    """Nothing has no outline: there is no distance, neither 0 nor infinite."""
    assert surface_distances(np.zeros((9, 9), bool), np.ones((9, 9), bool), 1.0) is None


def test_masks_of_two_shapes_are_refused() -> None:
    """Masks of different shapes are refused."""
    with pytest.raises(InputError, match="shapes"):
        surface_distances(np.ones((3, 3), bool), np.ones((3, 4), bool), 1.0)
