"""Regions out of bands: those that scipy labels in the whole picture, with the same outlines."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.features import rasterize
from scipy.ndimage import label

from models.evaluation.contradictions import ContradictedRegion, Contradictions

K = 3


def drawn(seed: int, height: int, width: int) -> tuple[NDArray, NDArray, NDArray]:
    """Probabilities, what the consensus says (-1 in places), and what the model says."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([1] * K, (height // 2 + 1, width // 3 + 1)).astype(np.float32)
    p = p.repeat(2, axis=0).repeat(3, axis=1)[:height, :width].transpose(2, 0, 1)
    given_ = rng.integers(-1, K, (height, width)).astype(np.int16)
    given_[rng.random((height, width)) < 0.7] = 1
    return p, given_, p.argmax(axis=0).astype(np.int16)


def collected(
    p: NDArray, given_: NDArray, said: NDArray, heights: list[int], **limits: float
) -> tuple[list[ContradictedRegion], Contradictions]:
    found = Contradictions(
        K, given_.shape[1], least_pixels=limits.get("least", 0), most=int(limits.get("most", 9999))
    )
    cuts = np.cumsum(heights)
    bands = (np.split(one, cuts, axis=-2) for one in (p, given_, said))
    for some in zip(*bands, strict=True):
        found.add(*some)
    return found.regions(), found


@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    heights=st.lists(st.integers(0, 7), max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_regions_are_scipys(seed: int, size: tuple[int, int], heights: list[int]) -> None:
    """Pixels, classes and summed probabilities of each are those of the whole picture's regions."""
    p, wanted, said = drawn(seed, *size)
    regions, _ = collected(p, wanted, said, heights)
    expected = []
    for one in range(K):
        for other in range(K):
            if one != other:
                parts, n = label((wanted == one) & (said == other))
                for number in range(1, n + 1):
                    own = parts == number
                    expected.append((one, other, int(own.sum()), p[:, own].sum(axis=1)))
    assert len(regions) == len(expected)
    key = lambda one: (*one[:3], *np.round(one[3], 4))  # noqa: E731
    made = [(r.given, r.suggested, r.pixels, r.probability) for r in regions]
    for one, other in zip(sorted(made, key=key), sorted(expected, key=key), strict=True):
        assert one[:3] == other[:3]
        assert one[3] == pytest.approx(other[3], rel=1e-4)
    assert [r.pixels for r in regions] == sorted((r.pixels for r in regions), reverse=True)


def test_outlines_are_the_pixels() -> None:
    """Drawn again, the outlines of all regions cover the pixels that differ, and those alone."""
    p, wanted, said = drawn(4, 30, 40)
    regions, _ = collected(p, wanted, said, [7, 7])
    shapes = [region.outline(0, 0, 1) for region in regions]
    assert all(shape.is_valid for shape in shapes)
    again = rasterize(shapes, (30, 40)).astype(bool)
    assert (again == ((wanted != said) & (wanted >= 0))).all()
    moved = shapely.union_all([region.outline(100, 50, 2.5) for region in regions])
    assert moved.area == pytest.approx(again.sum() * 2.5**2)


def test_small_ones_are_left_out_and_of_many_the_largest_stay() -> None:
    """How many had no room is told."""
    p, wanted, said = drawn(5, 30, 40)
    everything, _ = collected(p, wanted, said, [10])
    large = [r.pixels for r in everything if r.pixels >= 4]
    some, found = collected(p, wanted, said, [10], least=4, most=5)
    assert [r.pixels for r in some] == large[:5]
    assert found.left_out == len(large) - 5 > 0
