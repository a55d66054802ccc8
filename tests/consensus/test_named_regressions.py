"""Mistakes that software for rater studies is known for, each by its name.

Properties of the same kind, over all sorts of ratings, stand in test_agreement_properties.py and
test_fusion.py; here each mistake has one case that can be looked up, from the outside.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.agreement import agreement
from consensus.comparing.comparisons import Method, against_others
from consensus.fusion import dawid_skene, majority, staple
from consensus.ratings import Ratings
from tests.conftest import CommandResult
from tests.consensus.builders import from_matrix

Run = Callable[..., CommandResult]


@pytest.fixture
def on_table(pathquorum: Run, tmp_path: Path) -> Callable[..., CommandResult]:
    """A command on a table of these rows: a row per item, a column per rater."""

    def call(rows: list[list[str]], *command: str, **columns: list[Any]) -> CommandResult:
        path = tmp_path / "table.csv"
        lines = [",".join(("item", "rater", "label", *columns))]
        for item, row in enumerate(rows):
            more = [str(values[item]) for values in columns.values()]
            lines += [",".join((str(item), f"R{r}", x, *more)) for r, x in enumerate(row)]
        path.write_text("\n".join(lines), encoding="utf-8")
        arguments = [str(path) if word == "TABLE" else word for word in command]
        return pathquorum(*arguments, "--json")

    return call


def test_string_classes_are_never_ordered_by_the_alphabet(on_table: Run) -> None:
    """ "mild, none, severe" is no order; asked for linear weights it is refused, never guessed."""
    rows = [["none", "mild"], ["mild", "severe"], ["severe", "severe"], ["none", "none"]]
    result = on_table(rows, "agreement", "--table", "TABLE", "--weights", "linear")
    assert result.status == 1
    assert "have none; name all classes in their order with --classes" in result.err
    given = on_table(
        rows,
        "agreement",
        "--table",
        "TABLE",
        "--weights",
        "linear",
        "--classes",
        "none,mild,severe",
    )
    assert given.json["classes"] == ["none", "mild", "severe"]


def test_one_class_only_is_undefined_and_never_perfect(on_table: Run) -> None:
    found = on_table([["benign", "benign"]] * 30, "agreement", "--table", "TABLE").json
    for name in ("cohen_mean", "conger", "fleiss", "krippendorff", "gwet", "brennan_prediger"):
        assert found["coefficients"][name]["status"] == "undefined: single class"
        assert found["coefficients"][name]["value"] is None


@pytest.mark.parametrize("method", ["dawid-skene", "staple"])
def test_two_raters_and_expectation_maximisation_is_refused(on_table: Run, method: str) -> None:
    """With two raters the answer would be the start of the iteration."""
    rows = [["a", "b"], ["b", "b"], ["a", "a"]] * 4
    result = on_table(rows, "consensus", "table", "TABLE", "--method", method)
    assert result.status == 1
    assert "majority" in result.err
    assert "adjudicat" in result.err


TIED = [["a", "a", "b", "b"], ["a", "b", "c", "d"], ["b", "b", "a", "a"], ["c", "c", "c", "d"]]


@pytest.mark.parametrize("fuse", [majority, dawid_skene, staple])
def test_ties_never_depend_on_the_order_of_raters(fuse: Callable[[Ratings], Any]) -> None:
    """Every order of four raters gives the same labels; by majority a tie is open in each."""
    found = set()
    for columns in itertools.permutations(range(4)):
        rows = [[row[c] for c in columns] for row in TIED * 3]
        ratings = from_matrix(rows, [f"R{c}" for c in columns], ["a", "b", "c", "d"])
        found.add(tuple(fuse(ratings).labels.tolist()))
        if fuse is majority:
            others = against_others(ratings, Method("nominal"))["raters"]
            assert sorted(one["others_split"]["items"] for one in others) == [3, 3, 3, 3]
    assert len(found) == 1
    if fuse is majority:
        assert next(iter(found))[:4] == (-1, -1, -1, 2)


def test_two_outlines_with_dice_0_889_do_not_come_out_as_kappa_minus_0_11(on_table: Run) -> None:
    """Nothing is background for both: kappa of the overlay would be -0.11, and means nothing."""
    rows = [["tumor", "background"], ["tumor", "tumor"], ["background", "tumor"]]
    result = on_table(rows, "agreement", "--table", "TABLE", weight=[1, 8, 1])
    found = result.json
    assert found["per_class"]["tumor"]["dice"]["value"] == pytest.approx(0.889, abs=5e-4)
    naive = 1 - 0.2 / (2 * 0.9 * 0.1)
    assert naive == pytest.approx(-0.11, abs=5e-3)
    kappas = [found["pairs"][0]["kappa"], found["coefficients"]["conger"]]
    kappas += [found["per_class"][name]["kappa"] for name in ("tumor", "background")]
    kappas += [found["per_class"]["tumor"][name] for name in ("prevalence_index", "bias_index")]
    for statistic in kappas:
        assert statistic["status"] == "undefined: no joint negatives"


@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_per_class_kappas_weighted_by_their_denominators_average_to_the_pooled_kappa(
    shared_data: Path, on_table: Run, weights: str
) -> None:
    """On the seven pathologists' 118 slides."""
    lines = (shared_data / "raters/carcinoma_landis.csv").read_text().splitlines()[1:]
    rows = [line.split(",") for line in lines]
    found = on_table(rows, "agreement", "--table", "TABLE", "--weights", weights).json
    kappas = [figures["kappa"] for figures in found["per_class"].values()]
    above = sum(kappa["value"] * kappa["denominator"] for kappa in kappas)
    below = sum(kappa["denominator"] for kappa in kappas)
    assert above / below == pytest.approx(found["coefficients"]["cohen_pooled"]["value"])


def test_splitting_faces_changes_nothing() -> None:
    """A face cut into a thousand slivers is the same face, in every figure and interval."""
    rows = [["a", "a", "b"], ["b", "b", "b"], ["a", "c", "a"], ["background"] * 3] * 6
    weight = [float(1 + item % 5) for item in range(24)]
    cluster = [f"p{item // 4}" for item in range(24)]
    whole = from_matrix(rows, weight=weight, cluster=cluster)
    slivers = 1000
    cut = from_matrix(
        [rows[0]] * slivers + rows[1:],
        weight=[weight[0] / slivers] * slivers + weight[1:],
        cluster=[cluster[0]] * slivers + cluster[1:],
    )
    for method in (Method("nominal"), Method("nominal", bootstrap=100, seed=2)):
        one, other = (
            [
                *agreement(ratings, weights="nominal", bootstrap=method.bootstrap, seed=2)
                .to_dict()["coefficients"]
                .values(),
                *(rater["kappa"] for rater in against_others(ratings, method)["raters"]),
            ]
            for ratings in (whole, cut)
        )
        for ours, theirs in zip(one, other, strict=True):
            for key in ("value", "se", "ci_low", "ci_high", "status", "ci_status"):
                assert ours[key] == pytest.approx(theirs[key]), key


def test_one_huge_slide_does_not_drown_a_hundred_small_ones_unseen() -> None:
    """Pooled over area it decides alone; the median over slides stands beside it and differs."""
    small = [["a", "a"], ["b", "b"]] * 100
    plain = from_matrix([["a", "b"], ["b", "a"], *small], weight=[1e6, 1e6, *[1.0] * 200])
    slide = np.array([0, 0, *(1 + item // 2 for item in range(200))])
    names = tuple(f"S{number}" for number in range(101))
    ratings = replace(plain, slide=slide, slide_names=names)
    found = agreement(ratings, weights="nominal").to_dict()
    for statistic in (found["coefficients"]["fleiss"], found["per_class"]["a"]["kappa"]):
        assert statistic["value"] < -0.99
        assert statistic["median_over_slides"] == {"value": 1.0, "slides": 101, "undefined": 0}
