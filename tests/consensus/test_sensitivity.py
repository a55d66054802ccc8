"""What the consensus owes to the method, and to each rater."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.errors import InputError
from consensus.errors import TooFewRatersError
from consensus.fusing.sensitivity import sensitivity
from consensus.fusion import fuse, majority
from tests.consensus.builders import from_matrix
from tests.consensus.test_fusion import METHODS, TABLE, as_ratings, crowd


def variants(document: dict[str, Any]) -> dict[str, Any]:
    return {variant["variant"]: variant for variant in document["variants"]}


def test_every_method_and_every_rater_left_out_has_its_line() -> None:
    ratings = as_ratings(crowd(1)[1])
    document = sensitivity(ratings).to_dict()
    assert list(variants(document)) == [
        "majority",
        "majority by agreement",
        "dawid-skene",
        "staple",
        *(f"without R{number}" for number in range(5)),
    ]
    assert {variant["status"] for variant in document["variants"]} == {"ok"}


def test_a_line_is_the_consensus_of_that_method_and_of_those_raters() -> None:
    _, said = crowd(1, n_raters=4)
    weight = np.random.default_rng(0).random(len(said)) * 9
    ratings = as_ratings(said, weight=weight)
    found = variants(sensitivity(ratings, base="dawid-skene").to_dict())
    base = fuse(ratings, "dawid-skene").labels
    alone = fuse(as_ratings(np.where(np.arange(4) == 2, -1, said), weight=weight), "dawid-skene")
    for name, labels in (("majority", majority(ratings).labels), ("without R2", alone.labels)):
        told = found[name]
        for code, of_class in enumerate(ratings.classes):
            expected = ratings.weight[labels == code].sum()
            assert told["classes"][of_class]["weight"] == pytest.approx(expected)
            before = ratings.weight[base == code].sum()
            assert told["classes"][of_class]["moved"] == pytest.approx(expected - before)
            assert told["classes"][of_class]["items"] == (labels == code).sum()
        assert told["open"]["weight"] == pytest.approx(ratings.weight[labels < 0].sum())
        changed = ratings.weight[labels != base].sum()
        assert told["changed"]["weight"] == pytest.approx(changed)
        assert told["changed"]["share"] == pytest.approx(changed / ratings.weight.sum())


@settings(deadline=None, max_examples=30)
@given(TABLE, st.randoms(use_true_random=False))
def test_every_line_adds_up_and_none_depends_on_the_order_of_raters(rows, random) -> None:
    raters = ["R0", "R1", "R2", "R3"]
    weight = [1.0 + index for index in range(len(rows))]
    order = random.sample(range(4), 4)
    shuffled = [[row[column] for column in order] for row in rows]
    names = [raters[column] for column in order]
    one = sensitivity(from_matrix(rows, raters, classes=["a", "b", "c"], weight=weight)).to_dict()
    two = sensitivity(
        from_matrix(shuffled, names, classes=["a", "b", "c"], weight=weight)
    ).to_dict()
    assert two["variants"] == one["variants"]
    for variant in one["variants"]:  # type: ignore[attr-defined]
        if variant["status"] == "ok":
            held = sum(entry["weight"] for entry in variant["classes"].values())
            assert held + variant["open"]["weight"] == pytest.approx(sum(weight))


def test_a_rater_who_only_repeats_another_can_be_left_out() -> None:
    rows = [["a", "a", "a", "b"], ["b", "b", "b", "a"], ["a", "a", "a", "a"]] * 5
    found = variants(sensitivity(from_matrix(rows)).to_dict())
    assert all(found[f"without R{number}"]["changed"]["share"] == 0 for number in range(4))


def test_what_is_refused_is_listed_with_the_reason() -> None:
    rows = [["a", "b"], ["a", "a"], ["b", "b"]] * 3
    found = variants(sensitivity(from_matrix(rows)).to_dict())
    for method in ("dawid-skene", "staple"):
        assert found[method]["status"].startswith("refused: ")
        assert "three raters who overlap" in found[method]["status"]
        assert "classes" not in found[method]
    three = [["a", "b", "a"], ["a", "a", "a"], ["b", "b", "a"]] * 3
    left = variants(sensitivity(from_matrix(three), base="staple").to_dict())
    assert left["without R0"]["status"].startswith("refused: ")
    with pytest.raises(TooFewRatersError):
        sensitivity(from_matrix(rows), base="staple")
    with pytest.raises(InputError, match="no method 'vote'"):
        sensitivity(from_matrix(rows), base="vote")


def test_a_single_rater_left_out_leaves_everything_open() -> None:
    found = variants(sensitivity(from_matrix([["a"], ["b"]])).to_dict())
    assert found["without R0"]["open"] == {"items": 2, "weight": 2}
    assert found["without R0"]["changed"]["share"] == 1


@pytest.mark.parametrize("base", METHODS)
def test_the_base_comes_first_and_moves_nothing(base: str) -> None:
    document = sensitivity(as_ratings(crowd(2)[1]), base=base).to_dict()
    first = document["variants"][0]  # type: ignore[index]
    assert (first["variant"], first["changed"]["share"]) == (base, 0)
    assert all(entry["moved"] == 0 for entry in first["classes"].values())
