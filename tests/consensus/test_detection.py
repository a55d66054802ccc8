"""Whether raters found the same objects, and whether they named them the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Geometry, Point, box
from sklearn.metrics import cohen_kappa_score

from consensus.comparing.detection import Detection, Threshold, ladder
from consensus.matching import ObjectLayer, match_objects
from consensus.ratings import NOT_RATED
from consensus.study.object_items import ObjectItems, object_items
from tests.conftest import CommandResult, feature, square

MPP = 0.5
CLASSES = ("Mitosis", "Mimic")
FIRST = Threshold(0.5, 5.0)

Drawn = list[tuple[Geometry, int]]


def layer_of(rater: str, objects: Drawn) -> ObjectLayer:
    """A rater's objects, named by what they are, so that their order has no part."""
    shapes = np.empty(len(objects), dtype=object)
    shapes[:] = [shape for shape, _ in objects]
    return ObjectLayer(rater, [f"{rater} {shape.wkt} {code}" for shape, code in objects], shapes)


def items_of(
    read: dict[str, Drawn],
    *,
    thresholds: Sequence[Threshold] = (FIRST,),
    domains: Sequence[Geometry | None] | None = None,
    with_geometry: bool = False,
) -> ObjectItems:
    """A slide that raters read, their objects as (shape, class)."""
    return object_items(
        [layer_of(rater, objects) for rater, objects in read.items()],
        [np.array([code for _, code in objects], dtype=np.int64) for objects in read.values()],
        domains or [None] * len(read),
        absent=len(CLASSES),
        thresholds=thresholds,
        mpp=MPP,
        with_geometry=with_geometry,
    )


def detection_of(
    slides: Sequence[dict[str, Drawn]], thresholds: Sequence[Threshold] = (FIRST,)
) -> Detection:
    """A study in which each slide is a cluster."""
    raters = tuple(sorted({rater for slide in slides for rater in slide}))
    found = [items_of(slide, thresholds=thresholds).detection for slide in slides]
    return Detection.of(raters, CLASSES, thresholds, found, range(len(slides)))


def document_of(detection: Detection) -> dict[str, Any]:
    return detection.to_dict(1 - np.eye(len(CLASSES) + 1))


@st.composite
def studies(draw: st.DrawFn) -> list[dict[str, Drawn]]:
    """Slides read by two or three raters who draw boxes and points of two classes."""
    slides = []
    for _ in range(draw(st.integers(1, 3))):
        slide: dict[str, Drawn] = {}
        for rater in draw(st.sampled_from([("ann", "bob"), ("ann", "bob", "cy"), ("bob", "cy")])):
            cells = draw(st.lists(st.tuples(*[st.integers(0, 12)] * 2), max_size=7, unique=True))
            slide[rater] = [
                (Point(x, y) if draw(st.booleans()) else box(x, y, x + 9, y + 8), draw(st.integers(0, 1)))
                for x, y in cells
            ]  # fmt: skip
        slides.append(slide)
    return slides


def test_the_figures_of_two_raters_are_those_of_the_pairs_that_keep_to_the_threshold() -> None:
    """Counted by hand: three of four and five objects are found by both, two named the same."""
    ann = [(box(x, 0, x + 10, 10), code) for x, code in ((0, 0), (50, 1), (100, 0), (150, 1))]
    bob = [(box(x, 0, x + 10, 10), code) for x, code in ((1, 0), (50, 1), (102, 1), (157, 1), (200, 0))]  # fmt: skip
    found = document_of(detection_of([{"ann": ann, "bob": bob}]))
    assert found["found_by_both"] == 3
    assert found["f1_strict"]["value"] == pytest.approx(2 * 3 / (4 + 5))
    assert found["f1_strict"]["ci_status"] == "undefined: 1 clusters"
    assert found["specific"]["Mitosis"]["value"] == pytest.approx(2 * 1 / (2 + 2))
    assert found["specific"]["Mimic"]["value"] == pytest.approx(2 * 1 / (2 + 3))
    expected = cohen_kappa_score([0, 1, 0], [0, 1, 1])
    assert found["kappa_found"]["value"] == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(studies(), st.randoms(use_true_random=False))
def test_nothing_depends_on_the_order_of_raters(
    slides: list[dict[str, Drawn]], random: Random
) -> None:
    """Raters and objects in another order give the same document."""
    thresholds = (FIRST, *ladder(FIRST.iou, FIRST.distance_um))
    shuffled = [
        {rater: random.sample(slide[rater], len(slide[rater])) for rater in random.sample(sorted(slide), len(slide))}
        for slide in slides
    ]  # fmt: skip
    one, other = (detection_of(some, thresholds) for some in (slides, shuffled))
    assert document_of(one) == document_of(other)
    assert one.of_pairs() == other.of_pairs()


@settings(max_examples=25, deadline=None)
@given(studies())
def test_the_ladder_only_falls_and_holds_the_protocols_own_rung(
    slides: list[dict[str, Drawn]],
) -> None:
    """Fewer are found at a higher overlap and a smaller distance; the protocol's rung is its figure."""
    found = document_of(detection_of(slides, (FIRST, *ladder(FIRST.iou, FIRST.distance_um))))
    rungs = found.get("thresholds", [])
    for varied, sign in (("iou", 1), ("distance_um", -1)):
        row = [rung for rung in rungs if rung["varied"] == varied]
        counts = [sign * rung["found_by_both"] for rung in row]
        assert all(later <= earlier for earlier, later in itertools.pairwise(counts))
        for rung in row:
            if (rung["iou"], rung["distance_um"]) == (FIRST.iou, FIRST.distance_um):
                assert rung["found_by_both"] == found["found_by_both"]
                assert rung["f1"] == found["f1_strict"]
                assert rung["kappa"] == found["kappa_found"]


@settings(max_examples=25, deadline=None)
@given(studies())
def test_pooled_figures_are_sums_over_pairs_of_raters(slides: list[dict[str, Drawn]]) -> None:
    """Each two raters by themselves, on the slides that both read, add up to the pooled figures."""
    whole = detection_of(slides)
    both, drawn = 0, 0
    for pair in itertools.combinations(whole.raters, 2):
        shared = [{r: slide[r] for r in pair} for slide in slides if set(pair) <= set(slide)]
        if shared:
            alone = detection_of(shared)
            both += int(alone.both[0].sum())
            drawn += int(alone.drawn.sum())
    assert both == document_of(whole)["found_by_both"]
    value = document_of(whole)["f1_strict"]["value"]
    assert value is None if drawn == 0 else value == pytest.approx(2 * both / drawn)


def test_what_cannot_be_computed_says_why() -> None:
    """No objects, nothing found by both, and one class only are undefined, and never 0 or 1."""
    nothing = document_of(detection_of([{"ann": [], "bob": []}]))
    assert nothing["f1_strict"]["status"] == "undefined: nothing found by either"
    assert nothing["specific"]["Mimic"]["status"] == "undefined: class not used"
    apart = document_of(detection_of([{"ann": [(Point(0, 0), 0)], "bob": [(Point(90, 0), 0)]}]))
    assert apart["f1_strict"]["value"] == 0
    assert apart["kappa_found"]["status"] == "undefined: no items placed by both"
    same = document_of(detection_of([{"ann": [(Point(0, 0), 0)], "bob": [(Point(1, 0), 0)]}]))
    assert same["kappa_found"]["status"] == "undefined: no joint negatives"


def test_intervals_rest_on_clusters() -> None:
    """F1 of six slides has the interval of a ratio of their sums, written out."""
    rng = np.random.default_rng(4)
    slides = []
    for _ in range(6):
        at = rng.integers(0, 9, 12) * 100
        slides.append({r: [(box(x, 0, x + 9, 9), 0) for x in sorted({*at[k : k + 9].tolist()})] for k, r in ((0, "ann"), (3, "bob"))})  # fmt: skip
    detection = detection_of(slides)
    found = document_of(detection)["f1_strict"]
    above, below = 2 * detection.both[0].sum(axis=1), detection.drawn.sum(axis=1)
    value = above.sum() / below.sum()
    error = np.sqrt(((above - value * below) ** 2).sum() * 6 / 5) / below.sum()
    assert (found["value"], found["se"]) == (pytest.approx(value), pytest.approx(error))
    assert found["ci_status"] == "few clusters"
    assert 0 <= found["ci_low"] < value < found["ci_high"] <= 1


@settings(max_examples=25, deadline=None)
@given(studies())
def test_items_are_the_same_with_and_without_outlines(slides: list[dict[str, Drawn]]) -> None:
    """Leaving out the union changes no rating, and the union is that of each group's objects."""
    for slide in slides:
        bare, whole = (items_of(slide, with_geometry=flag) for flag in (False, True))
        assert bare.codes.tolist() == whole.codes.tolist()
        assert bare.geometries == [None] * len(bare.codes)
        layers = [layer_of(rater, objects) for rater, objects in slide.items()]
        matches = match_objects(layers, iou=FIRST.iou, distance_px=FIRST.distance_um / MPP)
        for shape, group in zip(whole.geometries, matches.groups.tolist(), strict=True):
            members = [one.geometries[i] for one, i in zip(layers, group, strict=True) if i >= 0]
            assert shape is not None
            assert shape.equals(shapely.union_all(members))


def test_who_has_not_looked_neither_found_nor_missed() -> None:
    """Outside a rater's domain an object is not rated, counts in no pair, and outside all is no item."""
    read = {
        "ann": [(box(0, 0, 10, 10), 0), (box(100, 0, 110, 10), 0)],
        "bob": [(box(1, 0, 11, 10), 1), (box(300, 0, 310, 10), 1)],
    }
    found = items_of(read, domains=[box(-5, -5, 200, 50), box(-5, -5, 50, 50)], with_geometry=True)
    assert found.codes.tolist() == [[0, 1], [0, NOT_RATED]]
    assert found.n_outside == 1
    assert [shape.bounds for shape in found.geometries if shape] == [(0, 0, 11, 10), (100, 0, 110, 10)]  # fmt: skip
    detection = Detection.of(("ann", "bob"), CLASSES, (FIRST,), [found.detection], [0])
    assert document_of(detection)["f1_strict"]["value"] == 1.0
    assert detection.drawn.tolist() == [[2]]


OBJECTS = """
name = "mitoses"
version = "1"
task = "objects"
[[classes]]
name = "Mitosis"
[[classes]]
name = "Mimic"
"""


@pytest.fixture
def mitoses(
    study: Callable[..., CommandResult], tmp_path: Path, write_export: Callable[..., Path]
) -> Callable[..., CommandResult]:
    """Three raters' squares and points on one slide, pulled."""
    path = tmp_path / "mitoses.toml"
    path.write_text(OBJECTS, encoding="utf-8")
    assert study("protocol", "add", path).status == 0
    for number, rater in enumerate(("P1", "P2", "P3")):
        point = {"type": "Point", "coordinates": [600 + 4 * number, 20]}
        drawn = [
            feature(square(100 + number, 100, 20), "Mitosis"),
            feature(square(300, 100 + 4 * number, 20), ("Mimic", "Mimic", "Mitosis")[number]),
            feature(point, "Mitosis"),
        ]
        pulled = study("pull", write_export(drawn, rater), "--annotator", rater, "--protocol", "mitoses")  # fmt: skip
        assert pulled.status == 0, pulled.err
    return study


def test_agreement_prints_what_was_found_and_how_it_moves(
    mitoses: Callable[..., CommandResult],
) -> None:
    """The document holds both F1s, the ladder and the matching; the page shows them."""
    command = ("agreement", "--protocol", "mitoses", "--thresholds")
    document = mitoses(*command, "--json").json
    detection = document["detection"]
    # All three squares are one object, though the outer two miss the threshold.
    assert [pair["f1"]["value"] for pair in detection["pairs"]] == [1.0] * 3
    strict = {(pair["a"], pair["b"]): pair["f1_strict"]["value"] for pair in detection["pairs"]}
    assert strict == {("P1", "P2"): 1.0, ("P1", "P3"): pytest.approx(2 / 3), ("P2", "P3"): 1.0}
    assert detection["f1_strict"]["value"] == pytest.approx(8 / 9)
    assert [r["iou"] for r in detection["thresholds"] if r["varied"] == "iou"] == [
        0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9
    ]  # fmt: skip
    assert {r["distance_um"] / 7.5 for r in detection["thresholds"]} >= {0.25, 1.0, 2.0}
    at = {(r["varied"], r["iou"], r["distance_um"]): r["found_by_both"] for r in detection["thresholds"]}  # fmt: skip
    # Squares 4 px of 20 apart share 2/3 and those 8 px apart 3/7; points are 2 and 4 um apart.
    assert [at["iou", share, 7.5] for share in (0.4, 0.5, 0.7, 0.9)] == [9, 8, 6, 5]
    assert [at["distance_um", 0.5, away] for away in (1.875, 3.75, 7.5)] == [5, 7, 8]
    assert document["matching"]["gap"] == 0
    assert document["matching"]["heuristic_components"] == 0
    assert document["matching"]["objective"] == document["matching"]["bound"] > 0
    shown = mitoses(*command).out
    assert "By threshold" in shown
    assert "IoU 0.1" in shown
    assert "objects are matched exactly (gap 0, 3 crowds)" in shown
    without = mitoses("agreement", "--protocol", "mitoses", "--json").json
    assert "thresholds" not in without["detection"]
    assert without["detection"]["specific"] == detection["specific"]


def test_a_run_tells_how_good_its_matching_is(mitoses: Callable[..., CommandResult]) -> None:
    """The figures stand in the run's document and its notes, also where the matching is exact."""
    run = mitoses("consensus", "run", "--protocol", "mitoses", "--json").json
    assert run["matching"]["exact_components"] == 3
    assert run["matching"]["exact_limit"] == 12
    assert any("matched exactly" in note for note in run["notes"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table", "t.csv"), "--thresholds matches the store's objects"),
        (("--protocol", "prostate"), "rates regions, which have no threshold"),
    ],
)
def test_thresholds_are_of_objects(
    mitoses: Callable[..., CommandResult],
    write_export: Callable[..., Path],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """Asked for elsewhere they are refused, in one line that says what to do."""
    export = write_export([feature(square(0, 0), "Benign")], "P3")
    assert mitoses("pull", export, "--annotator", "P3", "--protocol", "prostate").status == 0
    refused = mitoses("agreement", *arguments, "--thresholds", "--json")
    assert refused.status == 1
    assert message in refused.err
    assert refused.out == ""
