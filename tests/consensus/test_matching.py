"""Objects of several raters, grouped into those that are one and the same."""

from __future__ import annotations

import csv
import gzip
import itertools
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from shapely import Geometry, LineString, MultiPolygon, Point, Polygon, box

from annotation.errors import InputError
from consensus.matching import ABSENT, Matches, ObjectLayer, match_objects
from tests.consensus.test_found_by_both import both_found

IOU, DISTANCE = 0.5, 10.0


def layer(rater: str, *shapes: Geometry, uuids: list[str] | None = None) -> ObjectLayer:
    geometries = np.empty(len(shapes), dtype=object)
    geometries[:] = shapes
    return ObjectLayer(rater, uuids or [f"{rater}{i}" for i in range(len(shapes))], geometries)


def by_uuid(layers: list[ObjectLayer], matches: Matches) -> set[frozenset[tuple[str, str]]]:
    """The groups as sets of (rater, UUID), which don't know the order of raters."""
    return {
        frozenset(
            (one.rater, one.uuids[i]) for one, i in zip(layers, group, strict=True) if i != ABSENT
        )
        for group in matches.groups.tolist()
    }


def pair_weight(a: Geometry, b: Geometry) -> float:
    """What two objects of different raters add to a group, as the module says, up to rounding."""
    if a.area > 0 and b.area > 0:
        iou = a.intersection(b).area / a.union(b).area
        return iou if iou >= IOU - 5e-10 else -min(1.0, (IOU - iou) / (IOU / 2))
    away = a.centroid.distance(b.centroid) / DISTANCE
    return 1 - away / 2 if away <= 1 + 5e-10 else -min(1.0, away - 1)


def weight_inside(layers: list[ObjectLayer], groups: list[list[tuple[int, int]]]) -> float:
    """The objective of a grouping of (rater, index); pairs that share a UUID add nothing."""
    total = 0.0
    for group in groups:
        for (r, i), (s, j) in itertools.combinations(group, 2):
            if layers[r].uuids[i] != layers[s].uuids[j]:
                total += pair_weight(layers[r].geometries[i], layers[s].geometries[j])
    return total


def best_by_trying_all(layers: list[ObjectLayer]) -> float:
    """The largest objective of any grouping that keeps shared UUIDs together."""
    nodes: dict[str, list[tuple[int, int]]] = {}
    for r, one in enumerate(layers):
        for i, uuid in enumerate(one.uuids):
            nodes.setdefault(uuid, []).append((r, i))

    def parted(rest: list[list[tuple[int, int]]], groups: list[list[tuple[int, int]]]) -> float:
        if not rest:
            return weight_inside(layers, groups)
        node, *others = rest
        best = parted(others, [*groups, node])
        for k, group in enumerate(groups):
            if not {r for r, _ in node} & {r for r, _ in group}:
                joined = [*groups[:k], group + node, *groups[k + 1 :]]
                best = max(best, parted(others, joined))
        return best

    return parted(list(nodes.values()), [])


@st.composite
def reads(draw: st.DrawFn, n_objects: int, n_raters: int = 4) -> list[ObjectLayer]:
    """A few raters with crowded boxes, points and discs, some of them shared by UUID."""
    n_raters = draw(st.integers(2, n_raters))
    place = st.integers(0, 24)
    drawn: list[list[tuple[str, Geometry]]] = [[] for _ in range(n_raters)]
    for number in range(draw(st.integers(0, n_objects))):
        x, y, kind = draw(place), draw(place), draw(st.sampled_from(["box", "point", "disc"]))
        shape = {
            "box": box(x, y, x + 12, y + 10),
            "point": Point(x, y),
            "disc": Point(x, y).buffer(7, quad_segs=4),
        }[kind]
        raters = draw(st.lists(st.integers(0, n_raters - 1), min_size=1, max_size=2, unique=True))
        for rater in raters:
            drawn[rater].append((f"u{number}", shape))
    return [
        layer(f"r{r}", *(shape for _, shape in objects), uuids=[uuid for uuid, _ in objects])
        for r, objects in enumerate(drawn)
    ]


@settings(max_examples=60, deadline=None)
@given(reads(n_objects=6))
def test_exact_groups_weigh_as_much_as_the_best_of_all_groupings(layers: list[ObjectLayer]) -> None:
    """Small components are solved to the optimum, and the objective is the one that is stated."""
    found = match_objects(layers, iou=IOU, distance_px=DISTANCE)
    groups = [[(r, i) for r, i in enumerate(g) if i != ABSENT] for g in found.groups.tolist()]
    assert found.objective == pytest.approx(weight_inside(layers, groups), abs=1e-6)
    assert found.objective == pytest.approx(best_by_trying_all(layers), abs=1e-6)
    assert found.gap == 0
    assert found.n_heuristic == 0


@settings(max_examples=60, deadline=None)
@given(reads(n_objects=7))
def test_the_search_stays_between_nothing_and_the_bound(layers: list[ObjectLayer]) -> None:
    """Without the exact method the result is feasible, and the bound holds for the optimum."""
    found = match_objects(layers, iou=IOU, distance_px=DISTANCE, exact_limit=0)
    best = match_objects(layers, iou=IOU, distance_px=DISTANCE).objective
    assert 0 <= found.objective <= best + 1e-9
    assert best <= found.bound + 1e-9
    assert 0 <= found.gap <= 1


@settings(max_examples=60, deadline=None)
@given(reads(n_objects=16), st.sampled_from([0, 6, 12]), st.randoms(use_true_random=False))
def test_groups_do_not_depend_on_the_order_of_raters(
    layers: list[ObjectLayer], exact_limit: int, random: Random
) -> None:
    """Permuted raters, and objects in another order, come out in the same groups."""
    one = match_objects(layers, iou=IOU, distance_px=DISTANCE, exact_limit=exact_limit)
    shuffled = []
    for each in random.sample(layers, len(layers)):
        order = random.sample(range(len(each.uuids)), len(each.uuids))
        uuids = [each.uuids[i] for i in order]
        shuffled.append(ObjectLayer(each.rater, uuids, each.geometries[order]))
    other = match_objects(
        shuffled, iou=IOU, distance_px=DISTANCE, exact_limit=exact_limit, threads=2
    )
    assert by_uuid(layers, one) == by_uuid(shuffled, other)
    assert (one.objective, one.bound) == (other.objective, other.bound)


@settings(max_examples=60, deadline=None)
@given(reads(n_objects=16))
def test_every_object_stands_in_one_group_and_shared_uuids_in_the_same(
    layers: list[ObjectLayer],
) -> None:
    """Groups partition the objects, one of each rater at most, shared UUIDs together."""
    found = match_objects(layers, iou=IOU, distance_px=DISTANCE)
    for column, one in enumerate(layers):
        indices = found.groups[:, column]
        assert sorted(indices[indices != ABSENT].tolist()) == list(range(len(one.uuids)))
    assert (found.groups != ABSENT).any(axis=1).all()
    group_of: dict[str, int] = {}
    for number, group in enumerate(found.groups.tolist()):
        for one, i in zip(layers, group, strict=True):
            if i != ABSENT:
                assert group_of.setdefault(one.uuids[i], number) == number


@settings(max_examples=60, deadline=None)
@given(reads(n_objects=14, n_raters=2), st.sampled_from([0, 12]))
def test_two_raters_are_an_assignment(layers: list[ObjectLayer], exact_limit: int) -> None:
    """For two raters the objective is that of scipy's assignment, whatever the exact limit."""
    shared = set(layers[0].uuids) & set(layers[1].uuids)
    own = [[i for i, u in enumerate(one.uuids) if u not in shared] for one in layers]
    table = np.zeros((len(own[0]), len(own[1])))
    for (a, i), (b, j) in itertools.product(enumerate(own[0]), enumerate(own[1])):
        table[a, b] = max(0.0, pair_weight(layers[0].geometries[i], layers[1].geometries[j]))
    row, column = linear_sum_assignment(table, maximize=True)
    found = match_objects(layers, iou=IOU, distance_px=DISTANCE, exact_limit=exact_limit)
    assert found.objective == pytest.approx(table[row, column].sum(), abs=1e-6)
    assert found.n_heuristic == 0
    both = both_found(layers, iou=IOU, distance_px=DISTANCE)
    assert both[0, 1] >= (found.groups != ABSENT).all(axis=1).sum()


def test_a_crowd_of_two_raters_is_solved_exactly_at_any_size() -> None:
    """A component of 1,400 points, too large for tables, has the weight of scipy's assignment."""
    rng = np.random.default_rng(3)
    places = rng.uniform(0, 150, (2, 700, 2))
    layers = [layer(f"r{r}", *shapely.points(places[r])) for r in range(2)]
    away = np.hypot(*(places[0][:, None] - places[1][None]).transpose(2, 0, 1))
    table = np.where(away <= DISTANCE, 1 - away / (2 * DISTANCE), 0)
    found = match_objects(layers, iou=IOU, distance_px=DISTANCE)
    expected = table[linear_sum_assignment(table, maximize=True)].sum()
    assert found.objective == pytest.approx(expected, abs=1e-5)
    assert (found.n_exact, found.n_heuristic) == (1, 0)


def test_boxes_match_at_the_threshold_and_not_below_it() -> None:
    """An IoU of exactly the threshold is enough; 10 x 10 boxes 10/3 apart have one half."""
    for shift, matched in ((10 / 3, True), (10 / 3 + 1e-6, False)):
        layers = [layer("ann", box(0, 0, 10, 10)), layer("bob", box(shift, 0, shift + 10, 10))]
        assert (len(match_objects(layers, iou=0.5, distance_px=0).groups) == 1) is matched


def test_points_match_by_distance_also_with_objects_that_have_an_area() -> None:
    """Where one of two objects has no area their centroids decide, at the distance and below."""
    for other in (Point(8, 5), LineString([(6, 5), (10, 5)])):
        layers = [layer("ann", box(0, 0, 10, 10)), layer("bob", other)]
        assert len(match_objects(layers, iou=0.5, distance_px=3).groups) == 1
        assert len(match_objects(layers, iou=0.5, distance_px=2.999).groups) == 2
    twins = [layer("ann", Point(1, 1)), layer("bob", Point(1, 1), Point(1, 2))]
    assert match_objects(twins, iou=0.5, distance_px=0).groups.tolist() == [[0, 0], [-1, 1]]


def test_a_shared_uuid_goes_before_a_better_overlap() -> None:
    """The same object, moved by one of them, is matched by UUID and not with its neighbour."""
    layers = [
        layer("ann", box(0, 0, 10, 10), uuids=["same"]),
        layer("bob", box(100, 0, 110, 10), box(0, 0, 10, 10), uuids=["same", "new"]),
    ]
    found = match_objects(layers, iou=0.5, distance_px=5)
    assert by_uuid(layers, found) == {
        frozenset({("ann", "same"), ("bob", "same")}),
        frozenset({("bob", "new")}),
    }
    assert both_found(layers, iou=0.5, distance_px=5)[0, 1] == 1


def test_a_group_survives_one_pair_that_misses_by_a_hair() -> None:
    """Five boxes that drift a little are one object, though the outer two miss the threshold."""
    layers = [layer(f"r{k}", box(k, 0, k + 11, 10)) for k in range(5)]
    outer = pair_weight(layers[0].geometries[0], layers[4].geometries[0])
    assert outer < 0
    found = match_objects(layers, iou=0.5, distance_px=0)
    assert found.groups.tolist() == [[0, 0, 0, 0, 0]]
    assert both_found(layers, iou=0.5, distance_px=0)[0, 4] == 0


def test_a_chain_of_neighbours_is_parted() -> None:
    """Points of ten raters, each compatible with the next only, don't become one object."""
    layers = [layer(f"r{k}", Point(9.0 * k, 0)) for k in range(10)]
    found = match_objects(layers, iou=0.5, distance_px=10)
    assert (found.groups != ABSENT).sum(axis=1).max() == 2


def test_outlines_with_holes_and_parts_overlap_by_their_own_area() -> None:
    """A ring and the disc that fills it have nothing in common; a ring and itself everything."""
    disc = Point(0, 0).buffer(5)
    ring = Point(0, 0).buffer(10).difference(disc)
    parts = MultiPolygon([box(0, 50, 4, 54), box(6, 50, 10, 54)])
    layers = [layer("ann", ring, parts), layer("bob", disc, ring, parts)]
    found = match_objects(layers, iou=0.5, distance_px=0)
    assert by_uuid(layers, found) == {
        frozenset({("ann", "ann0"), ("bob", "bob1")}),
        frozenset({("ann", "ann1"), ("bob", "bob2")}),
        frozenset({("bob", "bob0")}),
    }
    assert found.objective == pytest.approx(2)


def test_no_layers_and_empty_layers() -> None:
    """Without objects there are no groups, and nothing is short of the bound."""
    nobody = match_objects([], iou=0.5, distance_px=1)
    assert nobody.groups.shape == (0, 0)
    empty = match_objects([layer("ann"), layer("bob")], iou=0.5, distance_px=1)
    assert empty.groups.shape == (0, 2)
    assert (empty.objective, empty.gap) == (0.0, 0.0)
    one = match_objects([layer("ann", Point(1, 1)), layer("bob")], iou=0.5, distance_px=1)
    assert one.groups.tolist() == [[0, -1]]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([layer("ann", Point(1, 1), Point(2, 2), uuids=["a", "a"])], "rater 'ann' has two objects with UUID 'a'"),
        ([layer("ann", Point(), uuids=["a"])], "object 'a' of rater 'ann' has no geometry"),
        ([ObjectLayer("ann", ["a"], np.array([], dtype=object))], "1 UUIDs and 0 geometries"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be_matched_are_refused(layers: list[ObjectLayer], message: str) -> None:
    """The rater and the object are named."""
    with pytest.raises(InputError, match=message):
        match_objects(layers, iou=0.5, distance_px=1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"iou": 0}, "iou 0"),
        ({"iou": 1.5}, "iou 1.5"),
        ({"distance_px": -1}, "distance of -1 px"),
        ({"distance_px": float("nan")}, "distance of nan px"),
        ({"exact_limit": 99}, "exact limit 99"),
        ({"threads": 0}, "0 threads"),
    ],
)
def test_limits_that_cannot_be_used_are_refused(arguments: dict[str, float], message: str) -> None:
    """Each limit is checked, and the message says what to give instead."""
    with pytest.raises(InputError, match=message):
        match_objects([layer("ann")], **{"iou": 0.5, "distance_px": 1, **arguments})  # type: ignore[arg-type]


PUBLISHED = {
    ("EIPH", "FirstRound"): [213, 236, 190, 199, 212, 197, 182, 220, 232, 180],
    ("EIPH", "SecondRound"): [239, 235, 189, 230, 239, 231, 214, 234, 241, 229],
    ("Asthma", "FirstRound"): [397, 413, 406, 402, 409, 410, 406, 408, 410, 402],
    ("Asthma", "SecondRound"): [419, 414, 404, 408, 418, 414, 412, 410, 419, 412],
}


@pytest.mark.parametrize(("task", "reading"), PUBLISHED)
def test_ten_experts_objects_form_groups(shared_data: Path, task: str, reading: str) -> None:
    """Real boxes of ten experts: all published objects are grouped, one of each expert a group."""
    boxes: dict[tuple[str, str], list[tuple[str, Polygon]]] = {}
    with gzip.open(shared_data / "raters/eiph/boxes.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            x1, y1, x2, y2, w, h = (float(row[k]) for k in ("x1", "y1", "x2", "y2", "w", "h"))
            inside = x1 > 2 and y1 > 2 and x2 < w - 2 and y2 < h - 2
            if (row["task"], row["round"], row["deleted"]) == (task, reading, "False") and inside:
                entry = (row["uuid"], box(x1, y1, x2, y2))
                boxes.setdefault((row["image"], row["expert"]), []).append(entry)
    experts = [f"Expert_{k}" for k in range(1, 11)]
    objects, sizes = np.zeros(10, dtype=int), Counter[int]()
    both = np.zeros((10, 10), dtype=int)
    for image in sorted({image for image, _ in boxes}):
        layers = [
            layer(e, *(shape for _, shape in found), uuids=[uuid for uuid, _ in found])
            for e in experts
            for found in [boxes.get((image, e), [])]
        ]
        matches = match_objects(layers, iou=0.5, distance_px=30)
        present = matches.groups != ABSENT
        objects += present.sum(axis=0)
        sizes.update(present.sum(axis=1).tolist())
        both += both_found(layers, iou=0.5, distance_px=30)
        assert matches.gap < 0.01
    assert objects.tolist() == PUBLISHED[task, reading]
    # Most objects were found by nearly all, and more so with suggestions in the second round.
    assert sum(n for size, n in sizes.items() if size >= 9) > 0.35 * sizes.total()
    f1 = 2 * both[0, 1] / objects[:2].sum()
    expected = {"EIPH": (0.619, 0.979), "Asthma": (0.835, 0.989)}[task]
    assert f1 == pytest.approx(expected[reading == "SecondRound"], abs=5e-4)
