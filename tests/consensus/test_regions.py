"""Regions made of faces, and their components."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Geometry, GeometryCollection, MultiPolygon, Point, Polygon, box

from annotation.errors import InputError
from consensus.overlay import Layer, overlay
from consensus.regions import (
    connected_components,
    disputed_components,
    dissolve_by_label,
    same_region,
)


def blob(x: float, y: float, radius: float, seed: int) -> Polygon:
    """A wavy outline of 60 vertices."""
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    r = radius * (1 + 0.2 * np.sin(3 * angle + seed) + rng.normal(0, 0.02, 60))
    return Polygon(np.stack([x + r * np.cos(angle), y + r * np.sin(angle)], axis=1))


def layers(seed: int) -> list[Layer]:
    """Three raters who outline the same places differently."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(25, 75, (4, 2))
    return [
        Layer(
            rater,
            np.array([blob(x, y, 20, seed + 10 * i + j) for j, (x, y) in enumerate(places)]),
            rng.integers(0, 3, 4).astype(np.int32),
        )
        for i, rater in enumerate(("ann", "bob", "cy"))
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_neighbouring_regions_share_their_borders(seed: int) -> None:
    """The regions of all patterns tile the slide: a valid coverage, edge by edge."""
    faces = overlay(layers(seed), extent=(100, 100), background=3)
    regions = faces.regions()
    assert shapely.is_valid(regions).all()
    assert shapely.area(regions) == pytest.approx(faces.pattern_area_px2, rel=1e-9)
    assert shapely.coverage_is_valid(regions)
    assert shapely.coverage_union_all(regions).area == pytest.approx(10_000)


def ugly_layers(seed: int, side: int = 40) -> list[Layer]:
    """Three raters whose outlines cross themselves, touch, coincide, or miss by a hair."""
    rng = np.random.default_rng(seed)
    slide = box(0, 0, side, side)
    raters = []
    for rater in range(3):
        drawn = []
        for _ in range(rng.integers(1, 4)):
            ring = rng.integers(0, side + 1, (rng.integers(3, 9), 2)) / rng.choice([1, 3, 7])
            shift = rng.choice([0, 1e-7, 2.0**-21])
            shape = shapely.make_valid(Polygon(ring + shift)).intersection(slide)
            parts = [q for p in shapely.get_parts(shape) for q in shapely.get_parts(p)]
            shape = MultiPolygon([p for p in parts if p.geom_type == "Polygon"])
            if shape.is_valid and shape.area > 0:
                drawn.append(shape)
        geometries = np.empty(len(drawn), dtype=object)
        geometries[:] = drawn
        codes = rng.integers(0, 3, len(drawn)).astype(np.int32)
        raters.append(Layer(f"r{rater}", geometries, codes))
    return raters


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1_000_000))
def test_ugly_outlines_make_regions_that_tile_the_slide(seed: int) -> None:
    """Valid polygons that share their borders, of the patterns' own areas."""
    faces = overlay(ugly_layers(seed), extent=(40, 40), background=3)
    regions = faces.regions()
    assert shapely.is_valid(regions).all(), shapely.is_valid_reason(regions)
    assert shapely.coverage_is_valid(regions)
    assert shapely.area(regions) == pytest.approx(faces.pattern_area_px2, abs=1e-9)
    assert faces.area_px2.sum() == pytest.approx(1600)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 6), st.integers(0, 2)),
        min_size=1,
        max_size=8,
    )
)
def test_regions_of_squares_equal_those_of_a_union(
    squares: list[tuple[int, int, int, int]],
) -> None:
    """Corners that touch, shared edges, holes that touch: each region is the union of its cells."""
    drawn = np.array([box(x, y, x + side, y + side) for x, y, side, _ in squares], dtype=object)
    codes = np.array([code for *_, code in squares], dtype=np.int32)
    faces = overlay([Layer("ann", drawn, codes)], extent=(16, 16), background=3)
    regions = faces.regions()
    assert shapely.is_valid(regions).all()
    cells = [box(x, y, x + 1, y + 1) for x in range(16) for y in range(16)]
    says = [
        next((p for p, r in enumerate(regions) if r.contains(cell.centroid)), None)
        for cell in cells
    ]
    for pattern, region in enumerate(regions):
        own = shapely.union_all([c for c, p in zip(cells, says, strict=True) if p == pattern])
        assert shapely.equals(own, region)
        assert shapely.get_num_geometries(own) == shapely.get_num_geometries(region)


def test_a_hole_that_touches_the_outline_is_a_hole() -> None:
    """The walk around the region comes to the touching corner twice and becomes two rings."""
    square, diamond = box(0, 0, 8, 8), Polygon([(0, 4), (3, 2), (6, 4), (3, 6)])
    geometries = np.array([square, diamond], dtype=object)
    faces = overlay(
        [Layer("ann", geometries, np.array([0, 1], dtype=np.int32))], extent=(8, 8), background=2
    )
    around, inside = faces.regions()
    assert around.geom_type == "Polygon"
    assert len(around.interiors) == 1
    assert around.is_valid
    assert around.equals(square.difference(diamond))
    assert inside.equals(diamond)


def test_a_border_along_the_slides_edge_keeps_only_its_corners() -> None:
    """Long edges get vertices for the arithmetic; none of them comes out."""
    left = Layer("ann", np.array([box(0, 0, 4000, 16_000)]), np.array([0], dtype=np.int32))
    regions = overlay([left], extent=(16_000, 16_000), background=1).regions()
    assert [shapely.get_num_coordinates(region) for region in regions] == [5, 5]


def test_only_the_patterns_that_are_wanted_are_joined() -> None:
    """The others come out empty, in their places."""
    faces = overlay(layers(1), extent=(100, 100), background=3)
    everything = faces.regions()
    wanted = np.zeros(len(faces.patterns), dtype=bool)
    wanted[[1, 4]] = True
    some = faces.regions(wanted)
    assert (~shapely.is_empty(some)).tolist() == wanted.tolist()
    assert shapely.equals_exact(some[wanted], everything[wanted], normalize=True).all()


def test_components_touching_in_a_corner_are_two_in_reading_order() -> None:
    """Order and number follow from the region, not from how it was put together."""
    parts = [box(4, 4, 6, 6), box(2, 2, 4, 4), box(0, 4, 1, 5), box(6, 4, 7, 6)]
    expected = [box(2, 2, 4, 4), box(0, 4, 1, 5), box(4, 4, 7, 6)]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        found = connected_components(GeometryCollection([parts[i] for i in order]))
        assert len(found) == 3
        assert all(same_region(a, b) for a, b in zip(found, expected, strict=True))
    assert connected_components(Polygon()) == []
    assert connected_components(GeometryCollection([Point(1, 1)])) == []


def test_specks_are_left_out_and_accounted_for() -> None:
    """Below the least area: not asked, but told."""
    speck, broad = box(0, 10, 3, 13), box(0, 20, 10, 30)
    found = disputed_components(MultiPolygon([speck, broad]), min_area_px2=10)
    assert [same_region(part, broad) for part in found.kept] == [True]
    assert found.dropped_px2 == pytest.approx(9)
    assert found.n_dropped == 1
    everything = disputed_components(MultiPolygon([speck, broad]))
    assert len(everything.kept) == 2
    assert everything.dropped_px2 == 0


def test_a_negative_least_area_is_refused() -> None:
    with pytest.raises(InputError, match="least area -1 px2"):
        disputed_components(box(0, 0, 1, 1), min_area_px2=-1)


def test_regions_dissolve_by_label() -> None:
    """Overlapping, touching and separate shapes of a label become one region of it."""
    shapes = [box(0, 0, 2, 2), box(1, 0, 3, 2), box(3, 0, 4, 2), box(9, 9, 10, 10)]
    found = dissolve_by_label(shapes, [1, 1, 0, 1])
    assert list(found) == [0, 1]
    assert same_region(found[0], box(3, 0, 4, 2))
    assert same_region(found[1], MultiPolygon([box(0, 0, 3, 2), box(9, 9, 10, 10)]))
    with pytest.raises(InputError, match="4 geometries and 1 labels"):
        dissolve_by_label(shapes, [1])


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (box(0, 0, 100, 100), True),
        (Polygon([(0, 0), (50, 0), (100, 0), (100, 100), (0, 100)]), True),
        (box(0, 0, 100, 100 + 1e-7), True),
        (MultiPolygon([box(0, 0, 50, 100), box(60, 0, 100, 100)]), False),
        (box(1, 0, 101, 100), False),
        (box(0, 0, 100, 100.01), False),
        (Polygon(), False),
    ],
)
def test_a_region_is_the_same_up_to_rounding(other: Geometry, same: bool) -> None:
    """Vertices on edges and the last digits don't count; a place that moved does."""
    assert same_region(box(0, 0, 100, 100), other) is same
    assert same_region(other, box(0, 0, 100, 100)) is same


def test_tiny_regions_are_compared_by_their_own_size() -> None:
    """Two specks below the absolute tolerance are not the same for being small."""
    assert not same_region(box(0, 0, 0.05, 0.05), box(5, 5, 5.05, 5.05))
    assert same_region(Polygon(), MultiPolygon())
