"""Raters against a reference, against the others and against themselves."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score, recall_score

from consensus.agreement import agreement
from consensus.comparing.comparisons import (
    Comparison,
    Method,
    against_others,
    against_rater,
    against_reference,
    within_raters,
)
from consensus.errors import RatingsError
from consensus.ratings import NOT_RATED
from tests.consensus.builders import from_contingency, from_matrix

NOMINAL = Method("nominal")
CLASSES = ["a", "b", "c", "background"]

# GRASS r.kappa, raster/r.kappa/testsuite: rows are the classification, columns the reference map
GRASS = np.array(
    [
        [4, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 1, 4, 0, 0, 0],
        [3, 0, 0, 0, 0, 1],
        [0, 0, 0, 0, 1, 0],
        [0, 2, 0, 0, 0, 2],
    ]
)
GRASS_CONDITIONAL = [1.0, None, 0.742857, 0.0, 1.0, 0.400]  # given the classification
GRASS_PRODUCER = [0.571429, 0.0, 1.0, None, 1.0, 0.6666666]  # given the reference map


def noisy(seed: int, n_raters: int = 2, n_items: int = 60) -> list[list[str]]:
    """Four classes by raters who are right in two of three cases."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, n_items)
    other = rng.integers(0, 4, (n_items, n_raters))
    said = np.where(rng.random(other.shape) < 0.6, truth[:, None], other)
    said[:4] = np.arange(4)[:, None]
    return np.array(CLASSES)[said].tolist()


def of_class(found: Comparison, kind: str) -> list[float | None]:
    return [figures[kind].value for figures in found.per_class.values()]


def test_grass_prints_the_same_conditional_kappas_and_accuracies() -> None:
    """The figures of r.kappa's own tests, checked there against Rossiter (2004)."""
    names = [str(number) for number in range(1, 7)]
    ratings = from_contingency(GRASS, names)  # "first" is the classification
    (given_first,) = against_rater(ratings, "first", NOMINAL)
    (given_second,) = against_rater(ratings, "second", NOMINAL)
    assert given_first.kappa.value == pytest.approx(0.52091, abs=5e-6)
    assert of_class(given_first, "conditional_kappa") == [
        None if one is None else pytest.approx(one, abs=5e-7) for one in GRASS_CONDITIONAL
    ]
    assert of_class(given_second, "sensitivity") == [
        None if one is None else pytest.approx(one, abs=5e-6) for one in GRASS_PRODUCER
    ]
    assert given_second.per_class["4"]["sensitivity"].status == (
        "undefined: the reference never says it"
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_error_of_a_conditional_kappa_is_that_of_bishop_fienberg_holland(seed: int) -> None:
    """Their large-sample variance, written out for the nominal case."""
    rows = noisy(seed)
    (found,) = against_rater(from_matrix(rows, classes=CLASSES), "R1", NOMINAL)
    n = len(rows)
    for name in CLASSES:
        q = sum(row[0] == name for row in rows) / n
        p = sum(row[1] == name for row in rows) / n
        both = sum(row == [name, name] for row in rows) / n
        inner = (p - both) * (p * q - both) + both * (1 - p - q + both)
        variance = (p - both) / (n * p**3 * (1 - q) ** 3) * inner
        statistic = found.per_class[name]["conditional_kappa"]
        assert statistic.value == pytest.approx((both - p * q) / (p - p * q))
        assert statistic.se == pytest.approx(np.sqrt(variance))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_a_reference_gives_the_kappa_and_recall_of_scikit_learn(seed: int, weights: str) -> None:
    rows = noisy(seed, n_raters=3)
    order = {"a": 0, "b": 1, "c": 2, "background": 3}
    said = np.array([[order[label] for label in row] for row in rows])
    names = ["0", "1", "2", "3"]
    ratings = from_matrix(said.tolist(), classes=names)
    found = against_rater(ratings, "R2", Method(weights))
    assert [one.rater for one in found] == ["R0", "R1"]
    for rater, one in enumerate(found):
        theirs = None if weights == "nominal" else weights
        assert one.kappa.value == pytest.approx(
            cohen_kappa_score(said[:, rater], said[:, 2], weights=theirs)
        )
        assert of_class(one, "sensitivity") == pytest.approx(
            recall_score(said[:, 2], said[:, rater], average=None)
        )
        for c in range(4):
            expected = recall_score(said[:, 2] != c, said[:, rater] != c)
            assert one.per_class[str(c)]["specificity"].value == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_conditional_kappas_average_to_kappa_by_their_expectations(seed: int) -> None:
    """Each class of the reference has its part of the observed and of the expected disagreement."""
    rows = noisy(seed)
    order = {name: index for index, name in enumerate(CLASSES[:3])}
    rows = [row for row in rows if "background" not in row]
    said = np.array([[order[label] for label in row] for row in rows])
    (found,) = against_rater(from_matrix(rows, classes=CLASSES[:3]), "R1", Method("linear"))
    apart = np.abs(np.subtract.outer(np.arange(3), np.arange(3))) / 2
    first, second = (np.bincount(said[:, side], minlength=3) for side in (0, 1))
    expected = second * (first @ apart)
    kappas = np.array(of_class(found, "conditional_kappa"), dtype=float)
    assert (kappas * expected).sum() / expected.sum() == pytest.approx(found.kappa.value)


def test_analytic_errors_given_a_reference_are_those_of_a_bootstrap() -> None:
    rows = noisy(3, n_items=400)
    ratings = from_matrix(rows, classes=CLASSES)
    (analytic,) = against_rater(ratings, "R1", NOMINAL)
    (drawn,) = against_rater(ratings, "R1", Method("nominal", bootstrap=2000))
    for name, figures in analytic.per_class.items():
        for kind, statistic in figures.items():
            assert statistic.se == pytest.approx(drawn.per_class[name][kind].se, rel=0.15), name


def test_a_reference_that_is_no_rater_may_leave_items_out() -> None:
    """What the reference doesn't say is counted, and not compared."""
    ratings = from_matrix([["a", "b"], ["b", "b"], ["a", None], ["c", "c"]], classes=CLASSES)
    reference = np.array([0, 1, NOT_RATED, NOT_RATED], dtype=np.int32)
    first, second = against_reference(ratings, reference, NOMINAL)
    assert (first.compared.items, first.beside) == (
        2,
        {"without_reference": {"items": 2, "weight": 2.0}},
    )
    assert (second.compared.items, second.beside) == (
        2,
        {"without_reference": {"items": 1, "weight": 1.0}},
    )
    assert first.kappa.value == 1
    assert second.per_class["a"]["sensitivity"].value == 0


def test_a_class_that_a_rater_never_misses_has_a_kappa_of_one_and_no_false_certainty() -> None:
    """Analytic or drawn, a sample without an error says nothing about how rare errors are."""
    rows = [["a", "a"], ["b", "b"], ["b", "c"], ["c", "c"]] * 6
    for bootstrap in (0, 100):
        (found,) = against_rater(
            from_matrix(rows, classes=CLASSES), "R1", Method("nominal", bootstrap=bootstrap)
        )
        kappa = found.per_class["a"]["conditional_kappa"]
        assert kappa.value == 1
        assert kappa.ci_low is None
        assert kappa.ci_status.startswith("undefined: ")


def test_an_unknown_reference_is_refused_with_the_raters_there_are() -> None:
    with pytest.raises(RatingsError, match=r"no rater 'R9' .*name one of R0, R1"):
        against_rater(from_matrix([["a", "b"]]), "R9", NOMINAL)


def test_without_joint_negatives_a_reference_has_sensitivity_and_no_specificity() -> None:
    """Misses count in it, though kappa is about what both placed."""
    placed = [["a", "a"], ["b", "a"], ["b", "b"]] * 4
    missed = [["absent", "a"], ["a", "absent"]] * 3
    (found,) = against_rater(from_matrix(placed + missed), "R1", NOMINAL)
    assert found.per_class["a"]["sensitivity"].value == pytest.approx(4 / 11)
    assert (
        found.kappa.value == agreement(from_matrix(placed), weights="nominal").pairs[0].kappa.value
    )
    for name in ("a", "b", "absent"):
        specificity = found.per_class[name]["specificity"]
        assert specificity.status == "undefined: no joint negatives"
    for statistic in found.per_class["absent"].values():
        assert statistic.status == "undefined: no joint negatives"


def majority_of_others(row: list[str | None], rater: int) -> str | None:
    """The definition, item by item."""
    others = [label for place, label in enumerate(row) if place != rater and label]
    label, votes = (Counter(others).most_common(1) or [("", 0)])[0]
    return label if len(others) >= 2 and 2 * votes > len(others) else None


tables = st.integers(3, 5).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([*CLASSES, None]), min_size=n, max_size=n), min_size=3, max_size=9
    )
)


def plain(found: dict[str, Any]) -> dict[str, Any]:
    """Values and reasons by rater."""
    return {
        one["rater"]: {
            "weight": one["weight"],
            "split": one["others_split"],
            "few": one["too_few_others"],
            "kappa": one["kappa"]["value"],
            **{
                (name, kind): statistic["value"]
                if statistic["value"] is not None
                else statistic["status"]
                for name, figures in one["per_class"].items()
                for kind, statistic in figures.items()
            },
        }
        for one in found["raters"]
    }


def assert_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    for rater, figures in left.items():
        for key, value in figures.items():
            if key in ("split", "few"):
                assert value["weight"] == pytest.approx(right[rater][key]["weight"])
            else:
                assert value == pytest.approx(right[rater][key], abs=1e-9), (rater, key)


@settings(max_examples=30)
@given(tables)
def test_the_others_consensus_is_their_strict_majority(rows: list[list[str | None]]) -> None:
    """Against the definition, item by item; ties are open for everyone."""
    assume(any(label for row in rows for label in row))
    ratings = from_matrix(rows, classes=CLASSES)
    found = against_others(ratings, NOMINAL)
    for rater, one in enumerate(found["raters"]):
        rated = [row for row in rows if row[rater]]
        held = [(row[rater], majority_of_others(row, rater)) for row in rated]
        compared = [pair for pair in held if pair[1] is not None]
        few = sum(sum(label is not None for label in row) < 3 for row in rated)
        assert one["items"] == len(compared)
        assert one["too_few_others"]["items"] == few
        assert one["others_split"]["items"] == len(rated) - len(compared) - few
        for name in CLASSES:
            held_so = [mine for mine, theirs in compared if theirs == name]
            sensitivity = one["per_class"][name]["sensitivity"]
            if sensitivity["value"] is not None:
                expected = sum(mine == name for mine in held_so) / len(held_so)
                assert sensitivity["value"] == pytest.approx(expected)


@settings(max_examples=30)
@given(tables, st.randoms(use_true_random=False))
def test_the_order_of_raters_has_no_say_in_who_agrees_with_the_others(
    rows: list[list[str | None]], random: Any
) -> None:
    assume(any(label for row in rows for label in row))
    columns = list(range(len(rows[0])))
    names = [f"R{column}" for column in columns]
    random.shuffle(columns)
    shuffled = [[row[column] for column in columns] for row in rows]
    ours = against_others(from_matrix(rows, names, CLASSES), NOMINAL)
    theirs = against_others(from_matrix(shuffled, [names[c] for c in columns], CLASSES), NOMINAL)
    assert_same(plain(ours), plain(theirs))


@settings(max_examples=30)
@given(tables, st.data())
def test_splitting_faces_changes_nothing_against_the_others(
    rows: list[list[str | None]], data: st.DataObject
) -> None:
    assume(any(label for row in rows for label in row))
    weight = data.draw(st.lists(st.floats(0.5, 50), min_size=len(rows), max_size=len(rows)))
    parts = data.draw(st.lists(st.integers(1, 3), min_size=len(rows), max_size=len(rows)))
    split = [row for row, n in zip(rows, parts, strict=True) for _ in range(n)]
    pieces = [w / n for w, n in zip(weight, parts, strict=True) for _ in range(n)]
    ours = against_others(from_matrix(rows, classes=CLASSES, weight=weight), NOMINAL)
    theirs = against_others(from_matrix(split, classes=CLASSES, weight=pieces), NOMINAL)
    assert_same(plain(ours), plain(theirs))


def test_two_raters_have_no_consensus_of_the_others() -> None:
    found = against_others(from_matrix([["a", "b"], ["a", "a"]]), NOMINAL)
    assert found["raters"] == []
    assert found["status"] == "undefined: the consensus of the others needs three raters"


def test_bootstrap_of_comparisons_draws_the_clusters_and_none_are_other_raters() -> None:
    rows = noisy(1, n_raters=3)
    cluster = [f"p{item // 6}" for item in range(len(rows))]
    ratings = from_matrix(rows, classes=CLASSES, cluster=cluster)
    found = against_others(ratings, Method("nominal", bootstrap=200, seed=3))
    again = against_others(ratings, Method("nominal", bootstrap=200, seed=3))
    assert found == again
    kappa = found["raters"][0]["kappa"]
    assert kappa["ci_status"] == "few clusters"  # ten patients
    assert kappa["ci_low"] < kappa["value"] < kappa["ci_high"]
    assert "with_raters" not in kappa


def test_a_rater_read_twice_has_the_kappa_of_the_two_readings() -> None:
    rows = noisy(2)
    twice = from_matrix(rows, ["replicate 1", "replicate 2"], CLASSES)
    found = within_raters({"P1": twice}, NOMINAL)["raters"][0]
    expected = cohen_kappa_score(*zip(*rows, strict=True))
    assert found["kappa"]["value"] == pytest.approx(expected)
    assert (found["rater"], found["items"], found["reads"]) == (
        "P1",
        len(rows),
        ["replicate 1", "replicate 2"],
    )
    assert set(found["per_class"]["a"]) == {"kappa", "dice"}


def test_three_readings_are_pooled_over_pairs_and_what_was_read_once_is_told() -> None:
    rows: list[list[str | None]] = [*noisy(4, n_raters=3), ["a", None, None], ["b", "b", None]]
    names = ["replicate 1", "replicate 2", "replicate 3"]
    ratings = from_matrix(rows, names, CLASSES)
    found = within_raters({"P1": ratings}, NOMINAL)["raters"][0]
    pooled = agreement(ratings, weights="nominal").coefficients["cohen_pooled"].value
    assert found["kappa"]["value"] == pytest.approx(pooled)
    assert found["items"] == len(rows) - 1
    assert found["read_once"] == {"items": 1, "weight": 1.0}
