"""Neighbours in a coverage, and how long their borders are."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.queue.shared_borders import is_edge_matched, shared_borders
from tests.consensus.coverages import cells, squares


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40))
def test_borders_are_those_that_shapely_finds_pair_by_pair(seed: int, count: int) -> None:
    """Every pair whose outlines share a line is found, with the line's length, and no other."""
    polygons = cells(seed, count)
    found = shared_borders(polygons)
    lengths = dict(
        zip(
            zip(found.first.tolist(), found.second.tolist(), strict=True),
            found.length_px.tolist(),
            strict=True,
        )
    )
    for one in range(len(polygons)):
        for other in range(one + 1, len(polygons)):
            common = shapely.intersection(polygons[one], polygons[other])
            assert lengths.pop((one, other), 0.0) == pytest.approx(common.length, abs=1e-9)
    assert lengths == {}


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_numbering_changes_no_bit_of_a_length(seed: int) -> None:
    """The same borders with the same lengths, whichever polygon comes first."""
    polygons = cells(seed, 30)
    order = np.random.default_rng(seed + 1).permutation(len(polygons))
    one, other = shared_borders(polygons), shared_borders(polygons[order])
    of_pair = {
        frozenset((order[a], order[b])): length
        for a, b, length in zip(other.first, other.second, other.length_px, strict=True)
    }
    assert of_pair == {
        frozenset((a, b)): length
        for a, b, length in zip(one.first, one.second, one.length_px, strict=True)
    }


def test_a_common_corner_is_no_border_and_a_hole_is_one() -> None:
    """Squares across a corner are no neighbours; what fills a hole is one all around."""
    corner = shared_borders(squares(2, 2))
    pairs = list(zip(corner.first.tolist(), corner.second.tolist(), strict=True))
    assert pairs == [(0, 1), (0, 2), (1, 3), (2, 3)]
    filling = shapely.box(2, 2, 4, 5)
    ring = shapely.Polygon(shapely.box(0, 0, 9, 9).exterior, [filling.exterior])
    around = shared_borders(np.array([ring, filling]))
    assert around.length_px.tolist() == [10.0]


def test_what_has_no_outline_has_no_border() -> None:
    """Nothing, points and lines: no pairs."""
    for shapes in ([], [shapely.Point(0, 0), shapely.LineString([(0, 0), (1, 1)])]):
        assert len(shared_borders(np.array(shapes, dtype=object)).first) == 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 6)), max_size=6),
    st.integers(1, 9),
)
def test_matched_edges_are_a_valid_coverage(boxes: list[tuple[int, int, int]], scale: int) -> None:
    """Pieces cut out of one another are told from a coverage as shapely tells them."""
    rest, pieces = shapely.box(0, 0, 16, 16), []
    for x, y, side in boxes:
        piece = shapely.intersection(rest, shapely.box(x, y, x + side, y + side))
        rest = shapely.difference(rest, piece)
        pieces += [p for p in shapely.get_parts(piece) if p.area > 0]
    parts = np.array([*pieces, *shapely.get_parts(rest)], dtype=object)
    parts = shapely.transform(parts, lambda points: points / scale)
    assert is_edge_matched(parts) == shapely.coverage_is_valid(parts)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40))
def test_cells_are_edge_matched_until_a_vertex_goes(seed: int, count: int) -> None:
    """A coverage is one; simplifying one of its polygons alone is noticed."""
    polygons = cells(seed, count)
    assert is_edge_matched(polygons)
    assert is_edge_matched(polygons[:0])
    first = shapely.segmentize(polygons[:1], 3.0)
    beside = shared_borders(polygons).first
    if 0 in beside.tolist():
        assert not is_edge_matched(np.concatenate([first, polygons[1:]]))
