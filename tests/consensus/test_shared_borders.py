"""Neighbours in a coverage, and how long their borders are."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.shared_borders import shared_borders
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
