"""Ratings from long tables: what becomes a class, an order, a gap or an error."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.errors import InputError
from consensus.columns import factorise
from consensus.errors import RatingsError
from consensus.ratings import NOT_RATED, Ratings


def table(*rows: tuple[Any, Any, Any], **options: Any) -> Ratings:
    return Ratings.from_table(*(list(column) for column in zip(*rows, strict=True)), **options)


def test_rows_become_a_matrix_in_order_of_first_appearance() -> None:
    ratings = table(("s2", "B", "x"), ("s1", "A", "y"), ("s2", "A", "x"))
    assert ratings.items == ("s2", "s1")
    assert ratings.raters == ("B", "A")
    assert ratings.classes == ("x", "y")
    assert ratings.codes.tolist() == [[0, 0], [NOT_RATED, 1]]
    assert ratings.cluster_unit == "item"


@pytest.mark.parametrize("missing", [None, "", "  ", float("nan"), np.nan, pd.NA, pd.NaT])
def test_missing_labels_are_not_rated(missing: Any) -> None:
    ratings = table(("s1", "A", "x"), ("s1", "B", missing))
    assert ratings.codes.tolist() == [[0, NOT_RATED]]
    assert ratings.classes == ("x",)


def test_numbers_sort_as_numbers() -> None:
    assert table(("a", "A", 10), ("b", "A", 9), ("c", "A", 2)).classes == ("2", "9", "10")
    text = table(("a", "A", "10"), ("b", "A", "9"), ("c", "A", "-2.5"))
    assert text.classes == ("-2.5", "9", "10")
    assert text.rank.tolist() == [0, 1, 2]


def test_integers_that_became_floats_are_the_same_classes() -> None:
    ratings = table(("a", "A", "1"), ("b", "A", 1.0), ("c", "A", 2), ("c", "B", "2.0"))
    assert ratings.classes == ("1", "2")
    with_gap = Ratings.from_table([1, 2], ["A", "A"], np.array([3.0, np.nan]))
    assert with_gap.classes == ("3",)


def test_text_has_no_order_unless_it_is_given() -> None:
    rows = [("a", "A", "mild"), ("b", "A", "severe"), ("c", "A", "none")]
    assert np.isnan(table(*rows).rank).all()
    ordered = table(*rows, classes=["none", "mild", "moderate", "severe"])
    assert ordered.classes == ("none", "mild", "moderate", "severe")
    assert ordered.rank.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("negative", ["background", "absent"])
def test_the_negative_class_stands_outside_the_order(negative: str) -> None:
    ratings = table(("a", "A", "3"), ("b", "A", negative), ("c", "A", "4"))
    assert ratings.classes == ("3", "4", negative)
    assert ratings.negative == 2
    assert ratings.rank.tolist() == pytest.approx([0, 1, np.nan], nan_ok=True)
    declared = table(("a", "A", "3"), ("b", "A", negative), classes=["3", negative, "4"])
    assert declared.rank.tolist() == pytest.approx([0, np.nan, 1], nan_ok=True)


def test_names_may_hold_any_character() -> None:
    ratings = table(("=1+1", "Müller, O.", "Tumor: +"), ("a\nb", "'; --", "Ω"))
    assert ratings.items == ("=1+1", "a\nb")
    assert ratings.raters == ("Müller, O.", "'; --")


def test_a_rating_given_twice_counts_once_and_a_second_label_is_refused() -> None:
    assert table(("s", "A", "x"), ("s", "A", "x")).codes.tolist() == [[0]]
    with pytest.raises(RatingsError, match="'A' gave item 's' two labels, 'x' and 'y'"):
        table(("s", "A", "x"), ("s", "A", "y"))


def test_weights_and_clusters_belong_to_items() -> None:
    rows = [("a", "A", "x"), ("a", "B", "x"), ("b", "A", "y")]
    ratings = table(*rows, weight=[2.5, 2.5, 0], cluster=["p1", "p1", "p2"])
    assert ratings.weight.tolist() == [2.5, 0]
    assert ratings.weight_unit == "um2"
    assert (ratings.cluster.tolist(), ratings.cluster_names) == ([0, 1], ("p1", "p2"))
    with pytest.raises(RatingsError, match="item 'a' has two different weights"):
        table(*rows, weight=[2.5, 2.0, 1])
    with pytest.raises(RatingsError, match="item 'a' has two different clusters"):
        table(*rows, cluster=["p1", "p2", "p2"])


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_weight_that_is_none_is_refused_by_item(bad: float) -> None:
    with pytest.raises(RatingsError, match="item 'a' has weight"):
        table(("a", "A", "x"), ("b", "A", "x"), weight=[bad, 1])


def test_counts_must_be_whole() -> None:
    counted = table(("a", "A", "x"), weight=[3], weight_unit="count")
    assert counted.weight_unit == "count"
    with pytest.raises(RatingsError, match=r"weight 0.5; give a whole number"):
        table(("a", "A", "x"), weight=[0.5], weight_unit="count")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((["a", "b"], ["A"], ["x"]), "columns differ in length (item 2, rater 1, label 1)"),
        (([], [], []), "there are no ratings"),
        ((["a"], ["A"], [None]), "no row has a label"),
        ((["a", None], ["A", "A"], ["x", "x"]), "row 2 has no item"),
        ((["a", "b"], ["A", ""], ["x", "x"]), "row 2 has no rater"),
        ((np.array([["a"]]), ["A"], ["x"]), "has 2 dimensions"),
    ],
)
def test_columns_that_are_no_ratings_are_refused(columns: Any, message: str) -> None:
    with pytest.raises(RatingsError, match=re.escape(message)):
        Ratings.from_table(*columns)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["low", "hihg"], "label 'high' is not among the classes low, hihg (did you mean 'hihg'?)"),
        (["low", "low"], "class 'low' is declared twice"),
        ("low,high", "classes is the text"),
        ([], "is empty"),
        (["low", ""], "holds an empty name"),
    ],
)
def test_classes_that_do_not_fit_are_refused(classes: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        table(("a", "A", "low"), ("b", "A", "high"), classes=classes)


def test_joint_negatives_are_found_in_the_ratings() -> None:
    rows = [("both", "A", "t"), ("both", "B", "t"), ("one", "A", "t"), ("one", "B", "background")]
    assert table(*rows).joint_negatives is False
    none = [("none", "A", "background"), ("none", "B", "background")]
    assert table(*rows, *none).joint_negatives is True
    assert table(*rows, none[0]).joint_negatives is False  # one rater's word alone
    assert table(("a", "A", "x"), ("a", "B", "y")).joint_negatives is True  # nothing to miss


def test_ratings_that_contradict_themselves_are_refused() -> None:
    good: dict[str, Any] = {
        "items": ("a",),
        "raters": ("A", "B"),
        "classes": ("x", "background"),
        "codes": np.array([[0, 1]]),
        "weight": np.ones(1),
        "cluster": np.zeros(1),
        "cluster_names": ("p",),
        "rank": np.array([0, np.nan]),
        "negative": 1,
    }
    Ratings(**good)
    for change, message in [
        ({"codes": np.array([[0, 2]])}, "codes run from 0 to 2"),
        ({"codes": np.array([[0]])}, "need codes of shape (1, 2)"),
        ({"raters": ("A", "A")}, "raters hold 'A' twice"),
        ({"cluster": np.ones(1)}, "cluster run from 1 to 1"),
        ({"slide": np.zeros(1), "slide_names": ()}, "slide run from 0 to 0"),
        ({"negative": 2}, "negative class 2"),
        ({"rank": np.array([0, 1])}, "'background' means nothing was found"),
        ({"negative": None, "rank": np.array([1, 1])}, "the same rank"),
        ({"weight_unit": "mm2"}, "weight_unit is 'mm2'"),
        ({"classes": (), "rank": np.ones(0)}, "at least one class"),
    ]:
        with pytest.raises(RatingsError, match=re.escape(message)):
            Ratings(**{**good, **change})


def test_arrays_of_ratings_cannot_be_changed() -> None:
    ratings = table(("a", "A", "x"))
    with pytest.raises(ValueError, match="read-only"):
        ratings.codes[0, 0] = 1


def test_a_table_that_would_not_fit_into_memory_is_refused() -> None:
    n = 40_000
    with pytest.raises(RatingsError, match="40,000 items x 40,000 raters"):
        Ratings.from_table(np.arange(n), np.arange(n), np.ones(n))


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["int8", "int64", "uint8", "uint64"]).flatmap(
        lambda kind: st.tuples(
            st.just(kind),
            st.lists(
                st.one_of(
                    st.integers(int(np.iinfo(kind).min), int(np.iinfo(kind).max)),
                    st.integers(int(np.iinfo(kind).max) - 9, int(np.iinfo(kind).max)),
                ),
                max_size=30,
            ),
        )
    )
)
def test_whole_numbers_are_told_apart_as_their_texts_are(column: tuple[str, list[int]]) -> None:
    """Close together (looked up) or far apart (sorted), and at the ends of what a type holds."""
    kind, values = column
    codes, found = factorise(np.array(values, dtype=kind))
    as_text, expected = factorise([str(value) for value in values])
    assert found == expected
    assert codes.tolist() == as_text.tolist()
