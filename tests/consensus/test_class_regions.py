"""Clean class regions: one coverage without slivers, and no area lost."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.errors import InputError
from consensus.class_regions import UNLABELLED, ClassRegions, class_regions
from consensus.overlay import Layer, overlay
from consensus.queue.shared_borders import shared_borders
from tests.consensus.coverages import cells, squares


def area_of(regions: ClassRegions, label: int) -> float:
    return float(shapely.area(regions.polygons[regions.labels == label]).sum())


def check(regions: ClassRegions, whole_px2: float, min_area_px2: float) -> None:
    """What holds of every result."""
    assert shapely.is_valid(regions.polygons).all()
    assert (shapely.get_type_id(regions.polygons) == 3).all()
    assert shapely.coverage_is_valid(regions.polygons)
    area_px2 = shapely.area(regions.polygons)
    assert area_px2.sum() == pytest.approx(whole_px2)
    borders = shared_borders(regions.polygons)
    neighbours = {*borders.first.tolist(), *borders.second.tolist()}
    assert not neighbours & set(np.flatnonzero(area_px2 < min_area_px2).tolist())
    assert (regions.labels[borders.first] != regions.labels[borders.second]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 120), st.sampled_from([0.0, 20.0, 60.0, 300.0, 1e9]))
def test_a_coverage_stays_one_without_slivers_and_keeps_its_area(
    seed: int, count: int, min_area_px2: float
) -> None:
    """Valid, dissolved, nothing too small beside a neighbour, in whatever order it came in."""
    rng = np.random.default_rng(seed)
    polygons = cells(seed, count)
    labels = rng.integers(UNLABELLED, 3, len(polygons))
    regions = class_regions(polygons, labels, min_area_px2=min_area_px2)
    check(regions, float(shapely.area(polygons).sum()), min_area_px2)
    order = rng.permutation(len(polygons))
    turned = shapely.reverse(polygons)[order]
    other = class_regions(turned, labels[order], min_area_px2=min_area_px2)
    assert shapely.equals_identical(regions.polygons, other.polygons).all()
    assert regions.labels.tolist() == other.labels.tolist()
    assert regions.moved_px2.tolist() == other.moved_px2.tolist()
    assert regions.n_moved == other.n_moved


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 20.0, 60.0]))
def test_the_area_that_moved_is_what_the_classes_gained_from_one_another(
    seed: int, min_area_px2: float
) -> None:
    """Each piece of another label inside a region counts as moved there, and only such."""
    rng = np.random.default_rng(seed)
    polygons = cells(seed, 60)
    labels = rng.integers(UNLABELLED, 3, len(polygons))
    regions = class_regions(polygons, labels, min_area_px2=min_area_px2)
    tree = shapely.STRtree(regions.polygons)
    within = tree.nearest(shapely.point_on_surface(polygons))
    foreign = regions.labels[within] != labels
    moved = np.bincount(within[foreign], shapely.area(polygons[foreign]), len(regions.polygons))
    assert regions.moved_px2 == pytest.approx(moved, abs=1e-6)
    if min_area_px2 == 0:
        assert regions.n_moved == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 4.0, 15.0]))
def test_regions_of_a_real_overlay_come_out_clean(seed: int, min_area_px2: float) -> None:
    """What raters drew freely, cut into patterns and labelled: a coverage of the whole slide."""
    rng = np.random.default_rng(seed)
    layers = []
    for rater in range(3):
        places = rng.uniform(10, 90, (4, 2))
        drawn = np.array([shapely.Point(x, y).buffer(rng.uniform(4, 15), 8) for x, y in places])
        layers.append(Layer(f"r{rater}", drawn, rng.integers(0, 2, 4).astype(np.int32)))
    faces = overlay(layers, extent=(100, 100), background=2)
    labels = rng.integers(UNLABELLED, 3, len(faces.patterns))
    regions = class_regions(faces.regions(), labels, min_area_px2=min_area_px2)
    check(regions, 10_000, min_area_px2)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 6)), max_size=6),
    st.integers(0, 1000),
)
def test_borders_that_were_not_shared_vertex_by_vertex_are_afterwards(
    boxes: list[tuple[int, int, int]], seed: int
) -> None:
    """Pieces cut out of one another, with vertices in the middle of a neighbour's edge."""
    rest, pieces = shapely.box(0, 0, 16, 16), []
    for x, y, side in boxes:
        piece = shapely.intersection(rest, shapely.box(x, y, x + side, y + side))
        rest = shapely.difference(rest, piece)
        pieces += [p for p in shapely.get_parts(piece) if p.area > 0]
    pieces.append(rest)
    labels = np.random.default_rng(seed).integers(UNLABELLED, 3, len(pieces))
    regions = class_regions(pieces, labels.tolist(), min_area_px2=2)
    check(regions, 256, 2)


def test_a_sliver_goes_to_the_neighbour_with_the_longest_border() -> None:
    """Not to the largest one, and the area that came is said of the region that got it."""
    left, sliver = shapely.box(0, 0, 10, 4), shapely.box(10, 0, 11, 4)
    upper, lower = shapely.box(11, 0, 90, 3), shapely.box(11, 3, 90, 4)
    regions = class_regions([left, sliver, upper, lower], [0, 1, 2, 3], min_area_px2=5)
    assert regions.labels.tolist() == [0, 2, 3]
    assert area_of(regions, 0) == 44
    assert regions.moved_px2.tolist() == [4, 0, 0]
    assert regions.n_moved == 1


def test_equal_borders_go_to_the_larger_neighbour() -> None:
    """A tie is decided by size, not by which polygon comes first."""
    row = [shapely.box(0, 0, 10, 4), shapely.box(10, 0, 11, 4), shapely.box(11, 0, 30, 4)]
    for order in ([0, 1, 2], [2, 1, 0]):
        regions = class_regions([row[i] for i in order], order, min_area_px2=5)
        assert area_of(regions, 2) == 4 * 20


def test_a_speck_joins_the_regions_that_it_lay_between() -> None:
    """Two parts of a class that only a sliver kept apart are one region afterwards."""
    row = [shapely.box(0, 0, 10, 4), shapely.box(10, 0, 11, 4), shapely.box(11, 0, 30, 4)]
    regions = class_regions(row, [0, 1, 0], min_area_px2=5)
    assert regions.labels.tolist() == [0]
    assert regions.polygons[0].equals(shapely.box(0, 0, 30, 4))


def test_slivers_side_by_side_grow_until_they_are_large_enough() -> None:
    """The smallest gives itself up first: a heap of crumbs becomes regions of the least area."""
    regions = class_regions(squares(4, 4), list(range(16)), min_area_px2=4)
    assert (shapely.area(regions.polygons) >= 4).all()
    assert shapely.area(regions.polygons).sum() == 16


def test_a_sliver_without_a_neighbour_stays() -> None:
    """An island that shares no border, or a corner only, keeps its class."""
    shapes = [shapely.box(0, 0, 1, 1), shapely.box(1, 1, 9, 9), shapely.box(50, 50, 51, 51)]
    regions = class_regions(shapes, [0, 1, 0], min_area_px2=5)
    assert regions.labels.tolist() == [0, 0, 1]
    assert regions.n_moved == 0


def test_what_is_unlabelled_gives_and_takes_like_a_class() -> None:
    """A speck that nobody decided goes to the class around it; a speck of a class to the open."""
    hole = shapely.box(4, 4, 5, 5)
    ring = shapely.Polygon(shapely.box(0, 0, 9, 9).exterior, [hole.exterior])
    for inner, outer in ((UNLABELLED, 0), (0, UNLABELLED)):
        regions = class_regions([ring, hole], [outer, inner], min_area_px2=5)
        assert regions.labels.tolist() == [outer]
        assert regions.moved_px2.tolist() == [1]


def test_nothing_gives_nothing_and_bad_input_is_refused() -> None:
    """No regions of nothing; lengths must fit, and areas can't be negative."""
    assert len(class_regions([], []).polygons) == 0
    with pytest.raises(InputError, match="1 geometries and 2 labels"):
        class_regions([shapely.box(0, 0, 1, 1)], [0, 1])
    with pytest.raises(InputError, match="least area of -1 px2"):
        class_regions([shapely.box(0, 0, 1, 1)], [0], min_area_px2=-1)
