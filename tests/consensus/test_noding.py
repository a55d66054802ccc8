"""Outlines on the grid, noded: they share nothing but vertices, whatever they looked like."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Polygon, box

from consensus.faces.arrangement import Arrangement, arrange
from consensus.faces.coverage import covering_polygons
from consensus.faces.noding import node_outlines
from consensus.faces.outlines import GRID_PX, LONGEST, Outlines

Edge = tuple[tuple[int, int], tuple[int, int]]


def edges_of(outlines: Outlines) -> list[Edge]:
    """Every edge once, in whole steps."""
    points = list(zip(outlines.x.tolist(), outlines.y.tolist(), strict=True))
    ends = [(points[a], points[b]) for a, b in enumerate(outlines.following.tolist())]
    return sorted({(min(edge), max(edge)) for edge in ends})


def side(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> int:
    """On which side of the line from a to b the point c lies; Python's integers don't round."""
    turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return (turn > 0) - (turn < 0)


def meet_between(one: Edge, other: Edge) -> bool:
    """Whether two edges share a point that is not an end of both."""
    (a, b), (c, d) = one, other
    if len({a, b} & {c, d}) == 2:
        return False
    if side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0:
        return True
    for (p, q), r in ((one, c), (one, d), (other, a), (other, b)):
        boxed = min(p[0], q[0]) <= r[0] <= max(p[0], q[0])
        boxed &= min(p[1], q[1]) <= r[1] <= max(p[1], q[1])
        if r not in (p, q) and boxed and side(p, q, r) == 0:
            return True
    return False


@st.composite
def polygons(draw: st.DrawFn) -> np.ndarray:
    """A few polygons whose vertices crowd on few points of the grid, so that all of them meet."""
    spread = draw(st.sampled_from([6, 40, 5000, LONGEST // 2]))
    corner = st.tuples(st.integers(0, spread), st.integers(0, spread))
    shapes = []
    for _ in range(draw(st.integers(1, 4))):
        ring = draw(st.lists(corner, min_size=3, max_size=6, unique=True))
        shape = shapely.make_valid(Polygon(np.array(ring) * GRID_PX))
        shapes += [q for p in shapely.get_parts(shape) for q in shapely.get_parts(p)]
    return np.array([s for s in shapes if s.geom_type == "Polygon" and s.area > 0], dtype=object)


@settings(max_examples=300, deadline=None)
@given(polygons(), st.sampled_from([1, 5, 1000]))
def test_noded_outlines_meet_in_vertices_only(shapes: np.ndarray, stripe_edges: int) -> None:
    """Checked edge by edge with integers of any size; and Euler's formula agrees."""
    if len(shapes) == 0:
        return
    noded = node_outlines(Outlines.of(shapes), threads=1, stripe_edges=stripe_edges)
    edges = edges_of(noded)
    crossing = [(a, b) for i, a in enumerate(edges) for b in edges[:i] if meet_between(a, b)]
    assert crossing == []
    assert Arrangement.of(noded).is_planar


@settings(max_examples=100, deadline=None)
@given(polygons())
def test_no_outline_moves_by_more_than_a_step(shapes: np.ndarray) -> None:
    """Snap rounding bends edges by half a step at most in each direction."""
    for index, shape in enumerate(shapes):
        others = np.delete(shapes, index)
        arrangement = arrange(np.append([shape], others), threads=1)
        polygon, cycle = covering_polygons(arrangement)
        own_px2 = arrangement.cycle_px2[cycle[polygon == 0]].sum()
        assert own_px2 == pytest.approx(shape.area, abs=2 * GRID_PX * shape.length)


def test_edges_through_one_point_are_all_bent_to_it() -> None:
    """Three edges that pass within half a step of a place meet in it."""
    step = GRID_PX
    spokes = np.array(
        [
            Polygon([(0, 0), (100 * step, 100 * step), (0, 200 * step)]),
            Polygon([(0, 100 * step), (100 * step, 0), (200 * step, 300 * step)]),
            Polygon([(50 * step, -40 * step), (51 * step, 140 * step), (-90 * step, 0)]),
        ]
    )
    noded = node_outlines(Outlines.of(spokes), threads=1)
    assert not any(
        meet_between(a, b) for i, a in enumerate(edges_of(noded)) for b in edges_of(noded)[:i]
    )


def test_long_edges_get_vertices_on_fixed_lines() -> None:
    """Two edges along each other get the same ones, on whole multiples of the longest edge."""
    outlines = Outlines.of(np.array([box(0, 0, 5000, 3000), box(1000, 0, 2500, 700)]))
    added = ~outlines.bends
    assert added.any()
    on_line = (outlines.x[added] % LONGEST == 0) | (outlines.y[added] % LONGEST == 0)
    assert on_line.all()
    following = outlines.following
    span = np.abs(outlines.x[following] - outlines.x) + np.abs(outlines.y[following] - outlines.y)
    assert span.max() <= 2 * LONGEST
    original = {
        (round(x / GRID_PX), round(y / GRID_PX)) for x, y in box(0, 0, 5000, 3000).exterior.coords
    }
    kept = set(zip(outlines.x[~added].tolist(), outlines.y[~added].tolist(), strict=True))
    assert original <= kept


def test_crossings_are_rounded_to_the_nearest_place() -> None:
    """The crossing of two edges lies within half a step of the exact one, as a fraction."""
    a, b, c, d = (0, 0), (1001, 777), (13, 900), (990, 1)
    ring = [np.array(p) * GRID_PX for p in (a, b)]
    one = Polygon([*ring, (2000 * GRID_PX, -3000 * GRID_PX)])
    other = Polygon([np.array(c) * GRID_PX, np.array(d) * GRID_PX, (0, 5000 * GRID_PX)])
    noded = node_outlines(Outlines.of(np.array([one, other])), threads=1)
    turn = (b[0] - a[0]) * (d[1] - c[1]) - (b[1] - a[1]) * (d[0] - c[0])
    share = Fraction((c[0] - a[0]) * (d[1] - c[1]) - (c[1] - a[1]) * (d[0] - c[0]), turn)
    exact = [a[i] + share * (b[i] - a[i]) for i in (0, 1)]
    nodes = zip(noded.x[noded.node].tolist(), noded.y[noded.node].tolist(), strict=True)
    assert any(all(abs(p[i] - exact[i]) <= Fraction(1, 2) for i in (0, 1)) for p in nodes)


def test_a_polygon_inside_a_hole_lies_in_no_other() -> None:
    """Components of the arrangement that touch nothing know what lies around them."""
    ring = box(0, 0, 9, 9).difference(box(2, 2, 7, 7))
    arrangement = arrange(np.array([ring, box(3, 3, 4, 4), box(1, 1, 1.5, 1.5)]), threads=1)
    polygon, cycle = covering_polygons(arrangement)
    area_px2 = np.bincount(polygon, arrangement.cycle_px2[cycle], minlength=3)
    assert area_px2.tolist() == [81 - 25, 1, 0.25]
    inside = {int(c) for c in cycle[polygon == 2]}
    assert {int(p) for p, c in zip(polygon, cycle, strict=True) if c in inside} == {0, 2}


def test_nothing_drawn_is_an_arrangement_of_nothing() -> None:
    """Not even a polygon that rounds to a point leaves a trace."""
    for shapes in ([], [box(0, 0, GRID_PX / 4, GRID_PX / 4)]):
        arrangement = arrange(np.array(shapes, dtype=object), threads=1)
        assert arrangement.n_cycles == 0
        polygon, cycle = covering_polygons(arrangement)
        assert len(polygon) == len(cycle) == 0
