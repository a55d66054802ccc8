"""What of an outline can be rated: repair, clipping, and what lies outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

import annotation.geometry as geometry_module
from annotation.geometry import RatedGeometry, from_wkb, rate_geometries, to_wkb

WIDTH_PX, HEIGHT_PX = 100, 80


def rate(*texts: str) -> RatedGeometry:
    return rate_geometries(shapely.from_wkt(list(texts)), WIDTH_PX, HEIGHT_PX)


def test_sound_outlines_are_only_looked_at() -> None:
    """What is valid and inside, up to the very edge, comes back as the same Python object."""
    geometries = shapely.from_wkt(
        ["POLYGON ((0 0, 100 0, 100 80, 0 80, 0 0))", "POINT (100 80)", "LINESTRING (0 0, 9 9)"]
    )
    rated = rate_geometries(geometries, WIDTH_PX, HEIGHT_PX)
    assert all(one is other for one, other in zip(rated.geometries, geometries, strict=True))
    assert not rated.repaired.any()
    assert not rated.outside.any()
    assert not rated.overhang_px2.any()
    assert not rated.area_change_px2.any()


def test_a_bow_tie_becomes_two_triangles() -> None:
    """A repair is recorded with its change of area; the sound neighbour is left alone."""
    rated = rate("POLYGON ((10 10, 30 30, 30 10, 10 30, 10 10))", "POLYGON ((0 0, 9 0, 9 9, 0 0))")
    assert rated.repaired.tolist() == [True, False]
    assert shapely.area(rated.geometries).tolist() == pytest.approx([200, 40.5])
    assert rated.area_change_px2.tolist() == pytest.approx([200, 0])
    assert rated.geometries[0].geom_type == "MultiPolygon"


def test_a_repair_keeps_areas_only() -> None:
    """A spike leaves no line behind, and a collapsed outline leaves nothing."""
    rated = rate(
        "POLYGON ((10 10, 20 10, 20 20, 20 40, 20 20, 10 20, 10 10))",
        "POLYGON ((10 10, 20 20, 10 10, 10 10))",
    )
    assert rated.repaired.all()
    assert [one.geom_type for one in rated.geometries] == ["Polygon", "Polygon"]
    assert shapely.area(rated.geometries).tolist() == [100, 0]
    assert not rated.outside.any()


def test_overhang_is_clipped_and_measured() -> None:
    """What hangs over the edge is cut off and its area recorded, after the repair."""
    rated = rate(
        "POLYGON ((90 10, 120 10, 120 20, 90 20, 90 10))",
        "POLYGON ((-10 -10, 10 10, 10 -10, -10 10, -10 -10))",
        "MULTIPOINT (5 5, 500 5)",
        "LINESTRING (90 5, 110 5)",
    )
    assert shapely.area(rated.geometries).tolist() == pytest.approx([100, 50, 0, 0])
    assert rated.overhang_px2.tolist() == pytest.approx([200, 150, 0, 0])
    assert rated.repaired.tolist() == [False, True, False, False]
    assert rated.geometries[2].equals(shapely.Point(5, 5))
    assert rated.geometries[3].length == 10
    assert not rated.outside.any()


def test_what_has_nothing_on_the_slide_is_outside() -> None:
    """Beyond the edge, touching it, or around a corner: no area inside is outside."""
    rated = rate(
        "POLYGON ((200 10, 220 10, 220 20, 200 20, 200 10))",
        "POLYGON ((100 10, 120 10, 120 20, 100 20, 100 10))",
        "POLYGON ((100 80, 120 80, 120 90, 100 90, 100 80))",
        "POLYGON ((90 95, 120 60, 120 95, 90 95))",
        "POINT (100.01 5)",
        "LINESTRING (-5 2, 2 -5)",
        "POLYGON ((-10 -10, -20 -20, -10 -10, -10 -10))",
        "POINT (0 0)",
        "POLYGON ((99 79, 120 79, 120 90, 99 90, 99 79))",
    )
    assert rated.outside.tolist() == [True] * 7 + [False] * 2
    assert shapely.is_empty(rated.geometries).tolist() == [True] * 7 + [False] * 2
    assert rated.overhang_px2[0] == 200


def test_a_collection_is_rated_by_the_union_of_its_areas() -> None:
    """Overlapping members count once; lines and points in it have no area."""
    rated = rate(
        "GEOMETRYCOLLECTION (POLYGON ((0 0, 10 0, 10 10, 0 10, 0 0)),"
        " POLYGON ((5 0, 15 0, 15 10, 5 10, 5 0)), POINT (50 50))",
        "GEOMETRYCOLLECTION (POINT (50 50))",
    )
    assert rated.geometries[0].geom_type == "Polygon"
    assert rated.geometries[0].area == 150
    assert rated.area_change_px2.tolist() == [-50, 0]
    assert not rated.repaired.any()


points = st.tuples(st.floats(-50, 150), st.floats(-50, 130))


@given(st.lists(st.lists(points, min_size=3, max_size=8), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_what_is_rated_is_valid_and_on_the_slide(rings: list[list[Any]]) -> None:
    """Whatever is drawn: valid polygons inside the slide, and the areas add up."""
    pulled = np.array([shapely.Polygon(ring) for ring in rings], dtype=object)
    rated = rate_geometries(pulled, WIDTH_PX, HEIGHT_PX)
    assert shapely.is_valid(rated.geometries).all()
    assert set(shapely.get_type_id(rated.geometries)) <= {3, 6}
    slide = shapely.box(0, 0, WIDTH_PX, HEIGHT_PX)
    assert (shapely.area(shapely.difference(rated.geometries, slide)) < 1e-6).all()
    total = shapely.area(rated.geometries) + rated.overhang_px2 - rated.area_change_px2
    assert total == pytest.approx(shapely.area(pulled), abs=1e-6)


def test_large_outlines_are_repaired_as_small_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way for large outlines gives the area that ``shapely.make_valid`` gives."""
    monkeypatch.setattr(geometry_module, "_LARGE_VERTICES", 0)
    rng = np.random.default_rng(0)
    for n_vertices in range(4, 20, 3):
        rings = [rng.random((n_vertices, 2)) * 60 + 10 for _ in range(3)]
        for drawn in (
            shapely.Polygon(rings[0]),
            shapely.Polygon(rings[0], [rings[1]]),
            shapely.MultiPolygon([shapely.Polygon(ring) for ring in rings]),
        ):
            [ours] = rate_geometries([drawn], WIDTH_PX, HEIGHT_PX).geometries
            assert shapely.symmetric_difference(ours, shapely.make_valid(drawn)).area < 1e-6
            assert ours.is_valid


def test_a_large_figure_of_eight_takes_no_minute() -> None:
    """100,000 vertices that cross themselves are repaired in the time of a look, not of a proof."""
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    eight = shapely.Polygon(np.column_stack([50 + 40 * np.sin(angle), 40 + 30 * np.sin(2 * angle)]))
    rated = rate_geometries([eight], WIDTH_PX, HEIGHT_PX)
    assert rated.repaired.all()
    assert rated.geometries[0].is_valid
    assert rated.geometries[0].area == pytest.approx(2 * 40 * 30 * 4 / 3, rel=1e-3)


def test_wkb_brings_geometries_back() -> None:
    """To WKB and back nothing changes, for every type, and for none."""
    texts = ["POINT (1 2)", "POLYGON ((0 0, 9 0, 9 9, 0 0), (5 3, 6 3, 6 4, 5 3))", "POLYGON EMPTY"]
    geometries = shapely.from_wkt(texts)
    assert (from_wkb(to_wkb(geometries)) == geometries).all()
    assert len(from_wkb([])) == 0
    assert to_wkb([]) == []
