"""What holds of agreement whatever the ratings are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consensus.agreement import Agreement, agreement
from tests.consensus.builders import from_matrix

CLASSES = ["a", "b", "c", "background"]
Table = list[list[str | None]]


@st.composite
def tables(draw: st.DrawFn, *, complete: bool = False) -> Table:
    """2 to 9 items by 2 to 4 raters."""
    n_raters = draw(st.integers(2, 4))
    cell = st.sampled_from(CLASSES if complete else [*CLASSES, None])
    row = st.lists(cell, min_size=n_raters, max_size=n_raters)
    rows = draw(st.lists(row, min_size=2, max_size=9))
    assume(any(label for one in rows for label in one))
    return rows


def figures(found: Agreement) -> dict[str, Any]:
    """Values and reasons of all figures over all raters."""
    every = {("coefficient", name): one for name, one in found.coefficients.items()}
    every |= {
        (label, kind): one
        for label, entry in found.per_class.items()
        for kind, one in entry.items()
    }
    every["detection", "f1"] = found.f1
    return {key: one.status if one.value is None else one.value for key, one in every.items()}


def assert_same(left: Agreement, right: Agreement) -> None:
    ours, theirs = figures(left), figures(right)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key], abs=1e-9), key


def rate(rows: Table, weights: str = "linear", **options: Any) -> Agreement:
    return agreement(from_matrix(rows, classes=CLASSES, **options), weights=weights)


@settings(deadline=None, max_examples=60)
@given(tables(), st.randoms(use_true_random=False), st.sampled_from(["nominal", "quadratic"]))
def test_the_order_of_raters_and_items_changes_nothing(rows: Table, random, weights: str) -> None:
    columns = list(range(len(rows[0])))
    random.shuffle(columns)
    shuffled = [[row[column] for column in columns] for row in rows]
    random.shuffle(shuffled)
    assert_same(rate(rows, weights), rate(shuffled, weights))


@settings(deadline=None, max_examples=60)
@given(tables(), st.permutations(["x", "y", "z"]))
def test_other_names_of_classes_change_nothing(rows: Table, names: list[str]) -> None:
    renamed = dict(zip("abc", names, strict=True)) | {"background": "background", None: None}
    other = [[renamed[label] for label in row] for row in rows]
    ours = rate(rows, "nominal")
    theirs = agreement(from_matrix(other, classes=["x", "y", "z", "background"]), weights="nominal")
    back = {value: key for key, value in renamed.items()}
    expected = {(back.get(key[0], key[0]), key[1]): value for key, value in figures(theirs).items()}
    for key, value in figures(ours).items():
        assert value == pytest.approx(expected[key], abs=1e-9), key


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=9), st.integers(2, 4))
def test_perfect_agreement_is_one(labels: list[str], n_raters: int) -> None:
    assume(len(set(labels)) > 1 and "background" in labels)
    found = rate([[label] * n_raters for label in labels])
    for name, one in found.coefficients.items():
        assert one.value == 1, name
    for label in set(labels):
        for kind in ("kappa", "fleiss", "dice"):
            assert found.per_class[label][kind].value == pytest.approx(1, abs=1e-15), (label, kind)
    assert found.f1.value == 1


@settings(deadline=None, max_examples=60)
@given(tables(), st.data())
def test_splitting_faces_changes_nothing(rows: Table, data: st.DataObject) -> None:
    weight = data.draw(st.lists(st.floats(0.5, 100), min_size=len(rows), max_size=len(rows)))
    parts = data.draw(st.lists(st.integers(1, 4), min_size=len(rows), max_size=len(rows)))
    split = [row for row, n in zip(rows, parts, strict=True) for _ in range(n)]
    pieces = [w / n for w, n in zip(weight, parts, strict=True) for _ in range(n)]
    assert_same(rate(rows, weight=weight), rate(split, weight=pieces))


@settings(deadline=None, max_examples=40)
@given(tables(), st.data())
def test_counts_may_be_written_as_weights(rows: Table, data: st.DataObject) -> None:
    times = data.draw(st.lists(st.integers(1, 4), min_size=len(rows), max_size=len(rows)))
    repeated = [row for row, n in zip(rows, times, strict=True) for _ in range(n)]
    counted = rate(rows, weight=times, weight_unit="count")
    one_by_one = rate(repeated)
    assert_same(counted, one_by_one)
    assert (counted.items, counted.clusters) == (one_by_one.items, one_by_one.clusters)
    left, right = (found.coefficients["gwet"].se for found in (counted, one_by_one))
    assert left == pytest.approx(right)


@settings(deadline=None, max_examples=80)
@given(tables(), st.sampled_from(["nominal", "linear", "quadratic"]))
def test_per_class_kappas_average_to_the_pooled_kappa(rows: Table, weights: str) -> None:
    found = rate(rows, weights)
    pooled = found.coefficients["cohen_pooled"].value
    assume(pooled is not None)
    kappas = [entry["kappa"] for entry in found.per_class.values()]
    defined = [(one.value, one.extra["denominator"]) for one in kappas if one.value is not None]
    values, below = np.array(defined).T
    assert (values * below).sum() / below.sum() == pytest.approx(pooled)


@settings(deadline=None, max_examples=60)
@given(tables(), st.sampled_from([0, 20]), st.booleans())
def test_the_document_is_json_without_nan(rows: Table, replicates: int, areas: bool) -> None:
    weight = {"weight": [1.5] * len(rows)} if areas else {}
    ratings = from_matrix(rows, classes=CLASSES, **weight)
    found = agreement(ratings, weights="quadratic", bootstrap=replicates)
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert all(value is not None for value in json.loads(text)["pairs"])
    for one in found.coefficients.values():
        assert (one.value is None) == one.status.startswith("undefined: ")
        assert (one.ci_low is None) == one.ci_status.startswith("undefined: ")
        assert one.value is None or one.value <= 1
