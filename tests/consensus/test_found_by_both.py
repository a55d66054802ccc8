"""Objects that two raters both found, each match at the threshold or better."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching
from shapely import Geometry, Point, box

from consensus.comparing.found_by_both import found_by_both
from consensus.matching import Candidates, ObjectLayer

IOU, DISTANCE = 0.5, 10.0


def both_found(
    layers: Sequence[ObjectLayer], *, iou: float, distance_px: float
) -> NDArray[np.int64]:
    """How many objects every two raters both found; upper triangle."""
    candidates = Candidates.of(layers, iou=iou, distance_px=distance_px)
    found = found_by_both(candidates, iou=iou, distance_px=distance_px)
    counts = np.zeros((len(layers), len(layers)), dtype=np.int64)
    np.add.at(counts, (candidates.rater[found.one], candidates.rater[found.other]), 1)
    return counts


def layer(rater: str, shapes: Sequence[Geometry], uuids: list[str] | None = None) -> ObjectLayer:
    geometries = np.empty(len(shapes), dtype=object)
    geometries[:] = shapes
    return ObjectLayer(rater, uuids or [f"{rater}{i}" for i in range(len(shapes))], geometries)


@st.composite
def crowds(draw: st.DrawFn, n_raters: int) -> list[ObjectLayer]:
    """Raters with boxes and points so crowded that most have several partners."""
    place = st.integers(0, 20)
    layers = []
    for rater in range(n_raters):
        shapes = [
            draw(st.sampled_from([box(x, y, x + 12, y + 10), Point(x, y)]))
            for x, y in draw(st.lists(st.tuples(place, place), max_size=9))
        ]
        layers.append(layer(f"r{rater}", shapes))
    return layers


def similarity(a: Geometry, b: Geometry, iou: float, distance_px: float) -> float:
    """Similarity of two compatible objects, 0 if they aren't, by the definition."""
    if a.area > 0 and b.area > 0:
        share = a.intersection(b).area / a.union(b).area
        return share if share >= iou - 5e-10 else 0.0
    away = a.centroid.distance(b.centroid)
    return 1 - away / (2 * distance_px) if away <= distance_px * (1 + 5e-10) else 0.0


@settings(max_examples=80, deadline=None)
@given(crowds(n_raters=2), st.sampled_from([0.15, 0.4, 0.5, 0.8]))
def test_found_by_both_is_the_largest_matching_of_the_largest_similarity(
    layers: list[ObjectLayer], iou: float
) -> None:
    """As many pairs as scipy's largest matching, and as similar as its best assignment of such."""
    candidates = Candidates.of(layers, iou=IOU, distance_px=DISTANCE, least_iou=0.1)
    found = found_by_both(candidates, iou=iou, distance_px=DISTANCE)
    shapes = [list(one.geometries) for one in layers]
    table = np.array(
        [[similarity(a, b, iou, DISTANCE) for b in shapes[1]] for a in shapes[0]]
    ).reshape(len(shapes[0]), len(shapes[1]))
    largest = maximum_bipartite_matching(csr_array(table > 0), perm_type="column")
    assert len(found.one) == (largest >= 0).sum()
    pairs = [
        similarity(candidates.geometries[a], candidates.geometries[b], iou, DISTANCE)
        for a, b in zip(found.one, found.other, strict=True)
    ]
    assert all(pairs)
    best = np.where(table > 0, table + 100, 0)  # pairs count before similarity
    row, column = linear_sum_assignment(best, maximize=True)
    assert sum(pairs) == pytest.approx(table[row, column].sum(), abs=1e-7)


@settings(max_examples=60, deadline=None)
@given(crowds(n_raters=3), st.randoms(use_true_random=False))
def test_no_rater_finds_an_object_twice_and_the_order_of_raters_has_no_say(
    layers: list[ObjectLayer], random: Random
) -> None:
    """Each object has one partner of each other rater at most; permuted raters give the same."""

    def matched(some: list[ObjectLayer]) -> set[frozenset[tuple[str, str]]]:
        candidates = Candidates.of(some, iou=IOU, distance_px=DISTANCE)
        found = found_by_both(candidates, iou=IOU, distance_px=DISTANCE)
        rater, index = candidates.rater, candidates.index
        assert (rater[found.one] < rater[found.other]).all()
        for end, other in ((found.one, found.other), (found.other, found.one)):
            assert len({*zip(end.tolist(), rater[other].tolist(), strict=True)}) == len(end)
        return {
            frozenset((some[rater[i]].rater, some[rater[i]].uuids[index[i]]) for i in pair)
            for pair in zip(found.one, found.other, strict=True)
        }

    assert matched(layers) == matched(random.sample(layers, len(layers)))


@settings(max_examples=60, deadline=None)
@given(crowds(n_raters=3))
def test_found_by_both_never_grows_with_the_threshold(layers: list[ObjectLayer]) -> None:
    """Fewer pairs at a higher overlap, more at a larger distance; of every two raters."""
    candidates = Candidates.of(layers, iou=IOU, distance_px=DISTANCE, least_iou=0.1)

    def counts(iou: float, distance_px: float) -> NDArray[np.int64]:
        found = found_by_both(candidates, iou=iou, distance_px=distance_px)
        table = np.zeros((3, 3), dtype=np.int64)
        np.add.at(table, (candidates.rater[found.one], candidates.rater[found.other]), 1)
        return table

    by_iou = [counts(share, DISTANCE) for share in np.linspace(0.1, 1, 10)]
    assert all((high <= low).all() for low, high in itertools.pairwise(by_iou))
    by_distance = [counts(IOU, away) for away in (0, 2.5, 5, 10, 15, 20)]
    assert all((far >= near).all() for near, far in itertools.pairwise(by_distance))


def test_a_lower_reach_changes_no_group_and_no_count() -> None:
    """Pairs listed for lower thresholds are left alone at the higher one."""
    rng = np.random.default_rng(5)
    layers = [
        layer(f"r{r}", [box(x, y, x + 12, y + 10) for x, y in rng.uniform(0, 120, (60, 2))])
        for r in range(3)
    ]
    one = Candidates.of(layers, iou=0.5, distance_px=5)
    other = Candidates.of(layers, iou=0.5, distance_px=5, least_iou=0.1)
    assert len(other.pairs.one) > len(one.pairs.one)
    found = [found_by_both(c, iou=0.5, distance_px=5) for c in (one, other)]
    assert found[0].one.tolist() == found[1].one.tolist()
    assert found[0].other.tolist() == found[1].other.tolist()


def test_shared_uuids_are_matched_at_every_threshold_and_where_both_have_looked() -> None:
    """An object that was moved is still the same; what one rater can't have seen doesn't count."""
    layers = [
        layer("ann", [box(0, 0, 10, 10), box(50, 0, 60, 10)], uuids=["same", "a"]),
        layer("bob", [box(30, 0, 40, 10), box(50, 0, 60, 10)], uuids=["same", "b"]),
    ]
    candidates = Candidates.of(layers, iou=0.9, distance_px=1)
    assert len(found_by_both(candidates, iou=1.0, distance_px=0).one) == 2
    # Bob looked at the right half only, Ann everywhere.
    x = np.array([shape.centroid.x for shape in candidates.geometries])
    inside = np.stack([np.ones(4, dtype=bool), x > 20], axis=1)
    assert len(found_by_both(candidates, iou=1.0, distance_px=0, inside=inside).one) == 1
