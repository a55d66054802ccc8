"""Disputes side by side are one place, as far as it fits into a field of view."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.queue.shared_borders import shared_borders
from consensus.queue.viewing_regions import viewing_regions
from tests.consensus.coverages import cells, squares


def members(region: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(region == number).tolist()) for number in set(region.tolist())}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(5, 60), st.floats(5, 150), st.floats(0.2, 1))
def test_regions_are_connected_fit_into_the_field_and_depend_on_no_order(
    seed: int, count: int, field_px: float, share: float
) -> None:
    """Every region hangs together by borders; only a dispute that is too large alone is wider."""
    rng = np.random.default_rng(seed)
    polygons = cells(seed, count)
    polygons = polygons[rng.random(len(polygons)) < share]
    region = viewing_regions(polygons, field_px)
    borders = shared_borders(polygons)
    for of_region in members(region):
        inside = sorted(of_region)
        left, top, right, bottom = shapely.total_bounds(polygons[inside])
        assert len(inside) == 1 or max(right - left, bottom - top) <= field_px
        reached, ahead = {inside[0]}, [inside[0]]
        while ahead:
            here = ahead.pop()
            beside = {
                *borders.second[borders.first == here].tolist(),
                *borders.first[borders.second == here].tolist(),
            }
            for neighbour in (beside & of_region) - reached:
                reached.add(neighbour)
                ahead.append(neighbour)
        assert reached == of_region
    order = rng.permutation(len(polygons))
    other = viewing_regions(polygons[order], field_px)
    assert {frozenset(order[sorted(m)].tolist()) for m in members(other)} == members(region)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_what_fits_as_a_whole_is_not_split(seed: int) -> None:
    """With a field that holds everything, regions are the connected parts of the union."""
    rng = np.random.default_rng(seed)
    polygons = squares(8, 8)[rng.random(64) < 0.4]
    parts = shapely.get_parts(shapely.union_all(polygons))
    assert len(set(viewing_regions(polygons, 8).tolist())) == len(parts)


def test_a_chain_across_the_slide_becomes_places_of_a_field_each() -> None:
    """A hundred faces in a row are halved until each place fits: 13 columns at most here."""
    region = viewing_regions(squares(100, 1), 13)
    assert np.bincount(region).tolist() == [13, 12, 13, 12, 13, 12, 13, 12]
    assert (np.diff(region) >= 0).all()


def test_a_dispute_larger_than_the_field_leaves_its_neighbours_together() -> None:
    """The large one is a place of its own; small ones that touch each other stay one."""
    large = shapely.box(0, 1, 50, 60)
    polygons = np.array(
        [
            *squares(3, 1),
            shapely.Polygon([(0, 1), (1, 1), (2, 1), (3, 1), *large.exterior.coords[1:-1][::-1]]),
        ]
    )
    assert len(shared_borders(polygons).first) == 5
    assert viewing_regions(polygons, 10).tolist() == [0, 0, 0, 1]


def test_regions_are_counted_as_they_come_and_corners_do_not_join() -> None:
    """Numbers rise from 0; squares across a corner are two places."""
    diagonal = np.array([shapely.box(5, 5, 6, 6), shapely.box(0, 0, 1, 1), shapely.box(1, 1, 2, 2)])
    assert viewing_regions(diagonal, 100).tolist() == [0, 1, 2]
    assert viewing_regions(np.empty(0, dtype=object), 100).tolist() == []
