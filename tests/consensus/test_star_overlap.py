"""Common area of many pairs of polygons at once."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely import MultiPolygon, Polygon, box

from consensus.groups import star_overlap
from consensus.groups.outlines import Outlines
from consensus.groups.places import places
from consensus.groups.star_overlap import MOST_RAYS, common_area_px2


def outlines(seed: int, n: int, noise: float, shift: float) -> NDArray[np.object_]:
    """Valid wavy outlines of 3 to 40 vertices, some clockwise, near one another."""
    rng = np.random.default_rng(seed)
    drawn = []
    while len(drawn) < n:
        angle = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 40)))
        radius = 10 * (1 + noise * rng.normal(size=len(angle)))
        x, y = rng.normal(shift, 3, 2)
        ring = np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)
        shape = Polygon(ring[:: rng.choice([-1, 1])])
        if shape.is_valid and shape.area > 0:
            drawn.append(shape)
    return np.array(drawn, dtype=object)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.4]), st.sampled_from([0.0, 100_000.25])
)
def test_common_areas_equal_those_of_clipping(seed: int, noise: float, shift: float) -> None:
    """Stars or not, of equal or of different numbers of vertices: the area is the clipped one."""
    shapes = outlines(seed, 40, noise, shift)
    one, other = np.arange(20), np.arange(20, 40)
    expected = shapely.area(shapely.intersection(shapes[one], shapes[other]))
    found = common_area_px2(Outlines.of(shapes), one, other)
    assert found == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.4]), st.sampled_from([0.0, 100_000.25])
)
def test_places_change_no_area(seed: int, noise: float, shift: float) -> None:
    """Measured around one point, or each pair around its own: the areas are the clipped ones."""
    shapes = outlines(seed, 12, noise, shift)  # 12 x 39 vertices: fewer than rays
    place = np.random.default_rng(seed).integers(-1, 3, len(shapes))
    one, other = np.triu_indices(len(shapes), 1)
    expected = shapely.area(shapely.intersection(shapes[one], shapes[other]))
    found = common_area_px2(Outlines.of(shapes), one, other, place)
    assert found == pytest.approx(expected, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.4]), st.sampled_from([0.0, 100_000.25]))
def test_octagons_share_no_less_than_their_polygons(seed: int, noise: float, shift: float) -> None:
    """The bound that spares neighbours the measuring holds, and is one only for outlines."""
    shapes = np.append(outlines(seed, 24, noise, shift), box(0, 0, 4, 4) - box(1, 1, 2, 2))
    one, other = np.triu_indices(len(shapes), 1)
    most = Outlines.of(shapes).most_common_px2(one, other)
    assert (most[other == 24] == np.inf).all()
    assert (most >= shapely.area(shapely.intersection(shapes[one], shapes[other])) - 1e-6).all()
    boxes = shapely.box(*shapely.bounds(shapes).T)
    no_more = shapely.area(shapely.intersection(boxes[one], boxes[other])) + 1e-6
    assert (most <= no_more)[other < 24].all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 200), st.integers(1, 60))
def test_places_hold_objects_that_are_alike(seed: int, n_vertices: int, n_objects: int) -> None:
    """No place has more vertices than there are rays, its number is its first object's, and an
    object that is like no other has none."""
    rng = np.random.default_rng(seed)
    one, other = np.triu_indices(n_objects, 1)
    likeness = rng.uniform(0, 1, len(one))
    likeness[(one == 0) | (other == 0)] = 0
    place = places(one, other, likeness, np.full(n_objects, n_vertices))
    assert place[0] == -1
    for number in np.unique(place[place >= 0]):
        members = np.flatnonzero(place == number)
        assert members[0] == number
        assert len(members) * n_vertices <= MOST_RAYS


def test_stars_need_no_clipping(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outlines like those of nuclei are not clipped one by one."""
    rng = np.random.default_rng(1)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    radius = 10 * (1 + 0.1 * np.sin(2 * angle) + rng.normal(0, 0.03, (40, 24)))
    middle = rng.normal(0, 1.5, (40, 2, 1))
    x, y = middle[:, 0] + radius * np.cos(angle), middle[:, 1] + radius * np.sin(angle)
    shapes = shapely.polygons(np.stack([x, y], axis=2))
    clipped: list[int] = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(shapely, name)

        def intersection(self, a: NDArray[np.object_], b: NDArray[np.object_]) -> object:
            clipped.append(len(a))
            return shapely.intersection(a, b)

    monkeypatch.setattr(star_overlap, "shapely", Counting())
    common_area_px2(Outlines.of(shapes), np.arange(20), np.arange(20, 40))
    assert sum(clipped) == 0


@pytest.mark.parametrize(
    ("one", "other", "area_px2"),
    [
        (box(0, 0, 4, 4), box(0, 0, 4, 4), 16),
        (box(0, 0, 4, 4), box(4, 0, 8, 4), 0),
        (box(0, 0, 4, 4), box(9, 9, 10, 10), 0),
        (box(0, 0, 4, 4), box(1, 1, 2, 2), 1),
        (box(0, 0, 4, 4), box(-1, 1, 5, 3), 8),
        (box(0, 0, 4, 4).difference(box(1, 1, 3, 3)), box(0, 0, 4, 4), 12),
        (MultiPolygon([box(0, 0, 1, 1), box(3, 3, 4, 4)]), box(0, 0, 4, 4), 2),
        (Polygon([(0, 0), (2, 0), (4, 0), (4, 4), (4, 4), (0, 4)]), box(2, 2, 6, 6), 4),
        (Polygon([(0, 0), (4, 0), (4, 1), (1, 1), (1, 4), (0, 4)]), box(0, 0, 4, 4), 7),
    ],
)
def test_touching_nested_and_holed_polygons(one: Polygon, other: Polygon, area_px2: float) -> None:
    """Shared edges, repeated vertices, holes and parts come out to the digit."""
    shapes = np.array([one, other], dtype=object)
    for a, b in ((0, 1), (1, 0)):
        found = common_area_px2(Outlines.of(shapes), np.array([a]), np.array([b]))
        assert found == pytest.approx([area_px2], abs=1e-12)
