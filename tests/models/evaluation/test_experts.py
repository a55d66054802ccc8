"""The model beside each expert: same items, same reference."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from consensus.comparing.comparisons import Method as AgreementMethod
from consensus.comparing.comparisons import against_others
from consensus.ratings import Ratings
from consensus.statistics.weights import disagreement_weights
from models.evaluation.experts import against_each_expert, majority_of_others
from models.evaluation.figures import Method
from models.evaluation.predicted import Predicted
from models.targets import Targets

Build = Callable[..., Targets]

QUADRATIC = disagreement_weights("quadratic", ("G1", "G2", "G3"), np.arange(3.0))


def drawn_votes(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    votes = np.where(rng.random((n, 4)) < 0.7, truth[:, None], rng.integers(0, 3, (n, 4)))
    votes[rng.random((n, 4)) < 0.15] = -1
    return votes


def test_majority_of_others_by_hand() -> None:
    """Splits, items of fewer than two others, and items that the rater left out have no reference."""
    votes = np.array(
        [[0, 1, 1, 2], [0, 1, 2, -1], [0, 1, -1, -1], [-1, 1, 1, 1], [2, 0, 0, 0], [-1] * 4]
    )
    assert majority_of_others(votes, 0).tolist() == [1, -1, -1, -1, 0, -1]


def test_an_experts_kappa_is_that_of_the_agreement_report(build_targets: Build) -> None:
    """Each expert against the majority of the others gives the kappa that `agreement` reports."""
    votes = drawn_votes(200, 1)
    targets = build_targets(
        votes.max(axis=1).clip(0), votes=votes, raters=tuple("abcd"), weight=np.ones(200)
    )
    even = Predicted(np.full((200, 3), 1 / 3), targets)
    found = against_each_expert(even, Method(QUADRATIC, "quadratic", 0))
    items, raters = np.nonzero(votes >= 0)
    table = Ratings.from_table(
        items, np.array(list("abcd"))[raters], np.array(["G1", "G2", "G3"])[votes[items, raters]],
        classes=["G1", "G2", "G3"],
    )  # fmt: skip
    reported = against_others(table, AgreementMethod("quadratic"))["raters"]
    assert len(reported) == 4
    for one in reported:
        others = found[one["rater"]]["others"]
        assert others["items"] == one["items"]  # type: ignore[index]
        assert others["expert"]["kappa"]["value"] == pytest.approx(one["kappa"]["value"])  # type: ignore[index]


def test_model_and_expert_are_judged_on_the_same_items(build_targets: Build) -> None:
    """Both stand against the others' majority on what the expert rated; their difference is paired."""
    votes = drawn_votes(150, 2)
    hard = np.random.default_rng(4).integers(0, 3, 150)
    p = np.random.default_rng(3).dirichlet([1] * 3, 150)
    targets = build_targets(hard, votes=votes, raters=tuple("abcd"), group=np.arange(150) // 6)
    found = against_each_expert(Predicted(p, targets), Method(QUADRATIC, "quadratic", 200))
    reference = majority_of_others(votes, 2)
    on = reference >= 0
    others, consensus = found["c"]["others"], found["c"]["consensus"]
    assert others["items"] == on.sum()  # type: ignore[index]
    for who, said in (("model", p.argmax(axis=1)), ("expert", votes[:, 2])):
        figures = others[who]  # type: ignore[index]
        assert figures["kappa"]["value"] == pytest.approx(
            cohen_kappa_score(reference[on], said[on], weights="quadratic")
        )
        assert figures["balanced_accuracy"]["value"] == pytest.approx(
            balanced_accuracy_score(reference[on], said[on])
        )
    apart = others["difference"]["kappa"]  # type: ignore[index]
    assert apart["value"] == pytest.approx(
        others["model"]["kappa"]["value"] - others["expert"]["kappa"]["value"]  # type: ignore[index]
    )
    assert apart["ci_low"] < apart["value"] < apart["ci_high"]
    rated = votes[:, 2] >= 0
    assert consensus["items"] == rated.sum()  # type: ignore[index]
    assert consensus["expert"]["accuracy"]["value"] == pytest.approx(  # type: ignore[index]
        (votes[rated, 2] == hard[rated]).mean()
    )


def test_two_experts_have_no_consensus_of_others(build_targets: Build) -> None:
    """With two raters nobody has two others: no items, and figures that say why."""
    targets = build_targets([0, 1, 2], votes=[[0, 0], [1, 1], [2, 1]], raters=("a", "b"))
    found = against_each_expert(Predicted(np.eye(3), targets), Method(QUADRATIC, "quadratic", 10))
    others = found["a"]["others"]
    assert others["items"] == 0  # type: ignore[index]
    assert others["expert"]["accuracy"]["status"] == "undefined: no items with a class"  # type: ignore[index]
    assert found["b"]["consensus"]["expert"]["accuracy"]["value"] == pytest.approx(2 / 3)  # type: ignore[index]
