"""The document of agreement: its keys, and what it says where a figure means nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from annotation.errors import InputError
from consensus.agreement import agreement
from consensus.errors import UnorderedClassesError
from consensus.ratings import Ratings
from tests.consensus.builders import from_matrix

CHANCE_CORRECTED = {
    "cohen_mean",
    "conger",
    "fleiss",
    "krippendorff",
    "gwet",
    "brennan_prediger",
}
PER_CLASS = {"kappa", "fleiss", "dice", "prevalence", "prevalence_index", "bias_index"}
STATISTIC = {"value", "se", "se_method", "ci_low", "ci_high", "ci_status", "status"}


def document(ratings: Ratings, weights: str = "nominal", **options: Any) -> dict[str, Any]:
    """The JSON document, through JSON."""
    found = agreement(ratings, weights=weights, **options).to_dict()
    return json.loads(json.dumps(found, allow_nan=False))


def statistics(value: Any, path: str = "") -> dict[str, dict[str, Any]]:
    """All statistics of a document by their path."""
    if isinstance(value, dict) and value.keys() >= STATISTIC:
        return {path: value}
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, dict[str, Any]] = {}
    for key, part in parts:
        if isinstance(part, dict | list):
            found.update(statistics(part, f"{path}/{key}"))
    return found


def graded(n: int = 30, seed: int = 0) -> list[list[str]]:
    """Three raters, grades 1 to 3, and what they left out."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(["1", "2", "3", "background"], n)
    other = rng.choice(["1", "2", "3", "background"], (n, 3))
    keep = rng.random((n, 3)) < 0.7
    return [
        [t if k else o for k, o in zip(*row, strict=True)]
        for t, row in zip(truth, zip(keep, other, strict=True), strict=True)
    ]


def test_the_document_holds_what_scripts_rely_on() -> None:
    found = document(from_matrix(graded(), "XYZ"), "linear")
    assert found["items"] == 30
    assert found["raters"] == ["X", "Y", "Z"]
    assert found["classes"] == ["1", "2", "3", "background"]
    assert found["weights"] == "linear"
    assert (found["cluster_unit"], found["clusters"]) == ("item", 30)
    assert found["domain_um2"] is None
    assert set(found["coefficients"]) >= {"percent", *CHANCE_CORRECTED}
    assert list(found["per_class"]) == found["classes"]
    for entry in found["per_class"].values():
        assert set(entry) == PER_CLASS
    assert set(found["pairs"][0]) == {"a", "b", "items", "weight", "kappa"}
    assert set(found["detection"]["pairs"][0]) == {"a", "b", "f1"}
    assert [(p["a"], p["b"]) for p in found["pairs"]] == [("X", "Y"), ("X", "Z"), ("Y", "Z")]
    every = statistics(found)
    assert len(every) == len(found["coefficients"]) + 4 * len(PER_CLASS) + 1 + 3 + 3
    for statistic in every.values():
        assert statistic["status"] == "ok"
        assert statistic["ci_status"] == "ok"
        assert statistic["ci_low"] <= statistic["value"] <= statistic["ci_high"] <= 1


def test_gwet_is_ac1_for_nominal_weights_and_ac2_otherwise() -> None:
    ratings = from_matrix(graded())
    assert document(ratings)["coefficients"]["gwet"]["name"] == "AC1"
    assert document(ratings, "linear")["coefficients"]["gwet"]["name"] == "AC2"


def test_text_classes_are_never_ordered_by_the_alphabet() -> None:
    rows = [["mild", "none"], ["severe", "mild"], ["none", "none"], ["mild", "severe"]] * 3
    for weights in ("linear", "quadratic"):
        with pytest.raises(UnorderedClassesError, match="--classes"):
            agreement(from_matrix(rows), weights=weights)
    by_severity = agreement(from_matrix(rows, classes=["none", "mild", "severe"]), weights="linear")
    by_alphabet = agreement(from_matrix(rows, classes=["mild", "none", "severe"]), weights="linear")
    assert by_severity.pairs[0].kappa.value != by_alphabet.pairs[0].kappa.value


def test_two_digit_numbers_are_ordered_by_value() -> None:
    rows = [["2", "9"], ["9", "10"], ["10", "10"], ["2", "2"], ["10", "2"]] * 2
    named = [[{"2": "low", "9": "mid", "10": "high"}[cell] for cell in row] for row in rows]
    by_value = agreement(from_matrix(rows), weights="quadratic")
    by_name = agreement(from_matrix(named, classes=["low", "mid", "high"]), weights="quadratic")
    assert by_value.pairs[0].kappa.value == by_name.pairs[0].kappa.value


@pytest.mark.parametrize("classes", [None, ["a", "b"]])
def test_a_single_class_is_undefined_and_never_perfect(classes: list[str] | None) -> None:
    found = document(from_matrix([["a", "a", "a"]] * 12, classes=classes))
    for name in CHANCE_CORRECTED:
        statistic = found["coefficients"][name]
        assert statistic["status"] == "undefined: single class"
        assert statistic["ci_status"] == "undefined: single class"
        assert {statistic[key] for key in ("value", "se", "ci_low", "ci_high")} == {None}
    assert found["per_class"]["a"]["kappa"]["status"] == "undefined: single class"
    assert found["per_class"]["a"]["fleiss"]["status"] == "undefined: single class"
    assert all(pair["kappa"]["status"] == "undefined: single class" for pair in found["pairs"])
    if classes:
        assert found["per_class"]["b"]["kappa"]["status"] == "undefined: class not used"
        assert found["per_class"]["b"]["dice"]["status"] == "undefined: class not used"
        assert found["per_class"]["b"]["prevalence"]["value"] == 0


def test_raters_without_a_common_item_have_nothing_to_compare() -> None:
    found = document(from_matrix([["a", None], [None, "b"]] * 6))
    for statistic in found["coefficients"].values():
        assert statistic["status"] == "undefined: no co-rated items"
    assert found["pairs"][0]["kappa"]["status"] == "undefined: no co-rated items"
    assert found["pairs"][0]["items"] == 0
    assert found["per_class"]["a"]["kappa"]["status"] == "undefined: no co-rated items"
    assert found["per_class"]["a"]["prevalence"]["value"] == 0.5


def test_a_rater_alone_and_no_items_at_all_give_a_document_without_values() -> None:
    alone = document(from_matrix([["a"], ["b"]] * 5))
    assert alone["pairs"] == []
    assert alone["coefficients"]["fleiss"]["status"] == "undefined: no co-rated items"
    nothing = Ratings(
        items=(),
        raters=("A", "B"),
        classes=("x", "y"),
        codes=np.zeros((0, 2)),
        weight=np.zeros(0),
        cluster=np.zeros(0),
        cluster_names=(),
        rank=np.array([0.0, 1.0]),
    )
    for replicates in (0, 50):
        empty = document(nothing, bootstrap=replicates)
        assert (empty["items"], empty["clusters"]) == (0, 0)
        assert all(one["value"] is None for one in statistics(empty).values())


def outlines(only_a: float, both: float, only_b: float, outside: float = 0) -> Ratings:
    """Two outlines of a tumour, by area."""
    rows = [["tumor", "background"], ["tumor", "tumor"], ["background", "tumor"]]
    weight = [only_a, both, only_b]
    if outside:
        rows, weight = [*rows, ["background", "background"]], [*weight, outside]
    return from_matrix(rows, weight=weight)


@pytest.mark.parametrize(("both", "dice"), [(8, 0.8889), (0, 0)])
def test_kappa_without_joint_negatives_is_undefined_and_dice_is_told_instead(
    both: float, dice: float
) -> None:
    found = document(outlines(1, both, 1))
    assert found["kappa_on"] == "placed by both"
    assert found["detection"]["f1"]["value"] == pytest.approx(dice, abs=5e-5)
    assert found["per_class"]["tumor"]["dice"]["value"] == pytest.approx(dice, abs=5e-5)
    for name, statistic in found["coefficients"].items():
        assert statistic["status"] == "undefined: no joint negatives", name
    for name in ("tumor", "background"):
        kappa = found["per_class"][name]["kappa"]
        assert kappa["status"] == "undefined: no joint negatives"
    assert found["pairs"][0]["kappa"]["status"] == "undefined: no joint negatives"


def test_with_joint_negatives_the_same_outlines_have_a_kappa() -> None:
    found = document(outlines(1, 8, 1, outside=90))
    assert found["kappa_on"] == "all rated"
    assert found["pairs"][0]["kappa"]["value"] == pytest.approx(1 - 0.02 / 0.1638, abs=1e-9)
    assert found["detection"]["f1"]["value"] == pytest.approx(0.8889, abs=5e-5)


def test_without_joint_negatives_kappa_is_about_what_both_placed() -> None:
    placed = [["mitosis", "mitosis"], ["apoptosis", "mitosis"], ["apoptosis", "apoptosis"]] * 4
    missed = [["mitosis", "absent"], ["absent", "apoptosis"]] * 5
    found = document(from_matrix(placed + missed))
    alone = document(from_matrix(placed))
    for name, expected in alone["coefficients"].items():
        for key in ("value", "se", "ci_low", "ci_high"):
            assert found["coefficients"][name][key] == pytest.approx(expected[key]), (name, key)
    for name in ("apoptosis", "mitosis"):
        expected = alone["per_class"][name]["kappa"]["value"]
        assert found["per_class"][name]["kappa"]["value"] == pytest.approx(expected)
    for statistic in found["per_class"]["absent"].values():
        assert statistic["status"] == "undefined: no joint negatives"
    assert found["detection"]["f1"]["value"] == pytest.approx(2 * 12 / (17 + 17))
    assert found["pairs"][0]["items"] == 22


def test_raters_who_never_placed_the_same_have_no_kappa() -> None:
    found = document(from_matrix([["a", "absent"], ["absent", "b"]] * 5))
    for statistic in (found["coefficients"]["fleiss"], found["pairs"][0]["kappa"]):
        assert statistic["status"] == "undefined: no items placed by both"
    assert found["detection"]["f1"]["value"] == 0


def test_the_class_of_nothing_is_needed_for_detection() -> None:
    found = document(from_matrix([["a", "b"], ["a", "a"]] * 5))
    assert found["detection"]["f1"]["status"] == "undefined: no negative class"
    assert found["detection"]["pairs"] == []
    nothing = document(from_matrix([["absent", "absent"], ["absent", "absent"]] * 5))
    assert nothing["detection"]["f1"]["status"] == "undefined: nothing found by either"


def test_declared_classes_count_in_ac1_and_brennan_prediger() -> None:
    rows = [["a", "a"], ["a", "b"], ["b", "b"], ["b", "b"]] * 3
    observed = document(from_matrix(rows))["coefficients"]
    declared = document(from_matrix(rows, classes=["a", "b", "c", "d"]))["coefficients"]
    assert observed["brennan_prediger"]["value"] == pytest.approx((0.75 - 1 / 2) / (1 - 1 / 2))
    assert declared["brennan_prediger"]["value"] == pytest.approx((0.75 - 1 / 4) / (1 - 1 / 4))
    assert declared["gwet"]["value"] > observed["gwet"]["value"]
    assert declared["fleiss"]["value"] == observed["fleiss"]["value"]


def test_areas_are_not_counts() -> None:
    rows = graded(24)
    counted = document(from_matrix(rows))
    areas = document(from_matrix(rows, weight=[1.0] * 24))
    for name in CHANCE_CORRECTED - {"krippendorff"}:
        expected = counted["coefficients"][name]["value"]
        assert areas["coefficients"][name]["value"] == pytest.approx(expected)
    alpha, fleiss = (areas["coefficients"][name]["value"] for name in ("krippendorff", "fleiss"))
    assert alpha == pytest.approx(fleiss)  # complete ratings, no small-sample term
    assert counted["coefficients"]["krippendorff"]["value"] > alpha
    for statistic in statistics(areas).values():
        assert statistic["se"] is None
        assert statistic["ci_status"].startswith("undefined: areas are not counts")


def test_the_median_over_slides_stands_beside_the_pooled_figure() -> None:
    """One huge slide on which raters disagree doesn't drown two small ones unseen."""
    rows = [["a", "b"], ["b", "a"]] + [["a", "a"], ["b", "b"]] * 2
    plain = from_matrix(rows, weight=[1e6, 1e6, 1, 1, 1, 1])
    ratings = Ratings(
        **{
            **{name: getattr(plain, name) for name in plain.__dataclass_fields__},
            "slide": np.array([0, 0, 1, 1, 2, 2]),
            "slide_names": ("huge", "small", "tiny"),
        }
    )
    found = document(ratings)
    fleiss = found["coefficients"]["fleiss"]
    assert fleiss["value"] < -0.99
    assert fleiss["median_over_slides"] == {"value": 1.0, "slides": 3, "undefined": 0}
    kappa = found["per_class"]["a"]["kappa"]
    assert (kappa["value"] < -0.99, kappa["median_over_slides"]["value"]) == (True, 1.0)


def test_analytic_intervals_say_that_they_ignore_clusters() -> None:
    rows = graded(40)
    found = document(from_matrix(rows, cluster=[f"p{n // 4}" for n in range(40)]))
    assert found["clusters"] == 10
    assert found["coefficients"]["fleiss"]["ci_status"] == "few clusters"
    assert "take items as independent" in found["notes"][0]
    assert "10 clusters" in found["notes"][0]


@pytest.mark.parametrize("bad", [{"bootstrap": -1}, {"seed": -1}])
def test_negative_numbers_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"is negative; give"):
        agreement(from_matrix(graded()), weights="nominal", **bad)


def test_custom_disagreements_are_named_so() -> None:
    ratings = from_matrix([["a", "b"], ["b", "c"], ["c", "c"], ["a", "a"]] * 3)
    linear = np.abs(np.subtract.outer(np.arange(3.0), np.arange(3.0)))
    found = agreement(ratings, weights=linear)
    ordered = from_matrix(
        [["a", "b"], ["b", "c"], ["c", "c"], ["a", "a"]] * 3, classes=["a", "b", "c"]
    )
    assert found.weights == "custom"
    expected = agreement(ordered, weights="linear").coefficients["fleiss"].value
    assert found.coefficients["fleiss"].value == pytest.approx(expected)


def index_of_pairs(
    rows: list[list[str | None]], weight: list[float], name: str
) -> tuple[float, float]:
    """Prevalence and bias index, pair by pair from Byrt's tables."""
    said_by_both = said_by_none = apart = everything = 0.0
    for a in range(len(rows[0])):
        for b in range(a):
            cells = {(x, y): 0.0 for x in (True, False) for y in (True, False)}
            for row, amount in zip(rows, weight, strict=True):
                if row[a] is not None and row[b] is not None:
                    cells[row[a] == name, row[b] == name] += amount
            said_by_both += cells[True, True]
            said_by_none += cells[False, False]
            apart += abs(cells[True, False] - cells[False, True])
            everything += sum(cells.values())
    return (said_by_both - said_by_none) / everything, apart / everything


@pytest.mark.parametrize("n_raters", [2, 3])
def test_prevalence_and_bias_index_are_byrts_pooled_over_pairs(n_raters: int) -> None:
    rng = np.random.default_rng(n_raters)
    rows: list[list[str | None]] = [row[:n_raters] for row in graded(40, seed=4)]
    for item in range(0, 40, 7):
        rows[item][item % n_raters] = None
    weight = rng.uniform(1, 9, 40).tolist()
    found = document(from_matrix(rows, weight=weight))["per_class"]
    for name, figures in found.items():
        expected = index_of_pairs(rows, weight, name)
        indices = figures["prevalence_index"]["value"], figures["bias_index"]["value"]
        assert indices == pytest.approx(expected), name


def test_kappa_follows_from_agreement_prevalence_and_bias_as_in_byrt() -> None:
    """Kappa = (2 p - 1 - PI^2 + BI^2) / (1 - PI^2 + BI^2) for a class against the rest."""
    rows = [row[:2] for row in graded(60, seed=9)]
    for name, figures in document(from_matrix(rows))["per_class"].items():
        agreed = np.mean([(a == name) == (b == name) for a, b in rows])
        squares = figures["bias_index"]["value"] ** 2 - figures["prevalence_index"]["value"] ** 2
        expected = (2 * agreed - 1 + squares) / (1 + squares)
        assert figures["kappa"]["value"] == pytest.approx(expected)


def test_the_paradox_of_a_rare_class_shows_in_its_prevalence_index() -> None:
    """Feinstein & Cicchetti (1990): 85 % agreement each, kappa 0.70 and 0.32."""
    for counts, kappa, index in (((40, 9, 6, 45), 0.70, -0.05), ((80, 10, 5, 5), 0.32, 0.75)):
        cells = zip((("x", "x"), ("x", "y"), ("y", "x"), ("y", "y")), counts, strict=True)
        found = document(from_matrix([cell for cell, n in cells for _ in range(n)]))
        figures = found["per_class"]["x"]
        assert figures["kappa"]["value"] == pytest.approx(kappa, abs=5e-3)
        assert figures["prevalence_index"]["value"] == pytest.approx(index)
        assert figures["bias_index"]["value"] == pytest.approx(abs(counts[1] - counts[2]) / 100)
        assert found["per_class"]["y"]["prevalence_index"]["value"] == pytest.approx(-index)


def test_raters_who_say_a_class_equally_often_have_no_bias_and_an_honest_interval() -> None:
    rows = [["x", "y", "x"], ["y", "x", "x"], ["x", "x", "y"], ["y", "y", "y"]] * 10
    bias = document(from_matrix(rows))["per_class"]["x"]["bias_index"]
    assert bias["value"] == 0
    assert bias["ci_low"] == 0
    assert 0 < bias["ci_high"] < 1
