"""Figures of probabilities: against scikit-learn, by hand, and with intervals over patients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    log_loss,
    precision_score,
    recall_score,
    roc_auc_score,
)

from annotation.errors import InputError
from consensus.agreement import agreement
from consensus.ratings import Ratings
from consensus.statistics.weights import disagreement_weights
from models.evaluation.draws import Figure, PatientDraws, difference
from models.evaluation.figures import (
    Method,
    class_figures,
    overall_figures,
    scored,
    site_figures,
)
from models.evaluation.sums import area_under_roc
from models.targets import Targets

Build = Callable[..., Targets]

QUADRATIC = disagreement_weights("quadratic", ("G1", "G2", "G3"), np.arange(3.0))


def method(bootstrap: int = 0) -> Method:
    return Method(QUADRATIC, "quadratic", bootstrap)


def probabilities(n: int, seed: int, rounded: int = 12) -> NDArray[np.float64]:
    drawn = np.random.default_rng(seed).dirichlet([0.7] * 3, n).round(rounded) + 1e-9
    return drawn / drawn.sum(axis=1, keepdims=True)


def overall(
    build: Build, p: NDArray[np.float64], hard: object, **named: object
) -> dict[str, float]:
    of = scored(p, build(hard, **named))
    draws = method().draws(of.targets.group)
    found = draws.statistics(overall_figures(of, method(), draws))
    return {name: one.value for name, one in found.items()}  # type: ignore[misc]


@given(seed=st.integers(0, 10_000), n=st.integers(12, 60))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_figures_are_scikit_learns(build_targets: Build, seed: int, n: int) -> None:
    """Each figure, weighted, is the one that scikit-learn gives; ties of scores count half."""
    rng = np.random.default_rng(seed)
    hard = np.concatenate([np.arange(3), rng.integers(0, 3, n - 3)])
    weight = rng.integers(1, 5, n)
    p = probabilities(n, seed, rounded=1)
    said = p.argmax(axis=1)
    found = overall(build_targets, p, hard, weight=weight)
    assert found == pytest.approx(
        {
            "accuracy": accuracy_score(hard, said, sample_weight=weight),
            "balanced_accuracy": balanced_accuracy_score(hard, said, sample_weight=weight),
            "kappa": cohen_kappa_score(
                hard, said, labels=[0, 1, 2], weights="quadratic", sample_weight=weight
            ),
            "auroc_macro": np.mean(
                [roc_auc_score(hard == c, p[:, c], sample_weight=weight) for c in range(3)]
            ),
            "nll": log_loss(hard, p, labels=[0, 1, 2], sample_weight=weight),
            "brier": brier_score_loss(hard, p, labels=[0, 1, 2], sample_weight=weight,
                                      scale_by_half=False),
        }
    )  # fmt: skip


def test_figures_of_a_class_are_scikit_learns(build_targets: Build) -> None:
    """Sensitivity, precision, F1 and AUROC of each class are scikit-learn's; specificity follows."""
    rng = np.random.default_rng(3)
    hard, p = rng.integers(0, 3, 80), probabilities(80, 4)
    said = p.argmax(axis=1)
    found = class_figures(scored(p, build_targets(hard)), method())
    for c, name in enumerate(("G1", "G2", "G3")):
        one = {kind: found[name][kind]["value"] for kind in  # type: ignore[index]
               ("auroc", "sensitivity", "precision", "f1", "specificity")}  # fmt: skip
        is_it, called = hard == c, said == c
        assert one == pytest.approx(
            {
                "auroc": roc_auc_score(is_it, p[:, c]),
                "sensitivity": recall_score(is_it, called),
                "precision": precision_score(is_it, called),
                "f1": f1_score(is_it, called),
                "specificity": recall_score(~is_it, ~called),
            }
        )
        assert found[name]["items"] == is_it.sum()


def test_kappa_of_unordered_classes_counts_them_fully_apart(build_targets: Build) -> None:
    """Kappa with weights in which a class stands outside the order is that of `agreement`."""
    weights = disagreement_weights("quadratic", ("G1", "G2", "none"), np.array([0.0, 1.0, np.nan]))
    rng = np.random.default_rng(5)
    hard, p = rng.integers(0, 3, 60), probabilities(60, 6)
    of = scored(p, build_targets(hard, classes=("G1", "G2", "none")))
    how = Method(weights, "quadratic", 0)
    draws = how.draws(of.targets.group)
    names = np.array(["a", "b", "c"])
    table = Ratings.from_table(
        np.tile(np.arange(60), 2),
        np.repeat(["model", "reference"], 60),
        np.concatenate([names[of.said], names[hard]]),
    )
    expected = agreement(table, weights=weights).coefficients["cohen_mean"].value
    found = draws.statistic(overall_figures(of, how, draws)["kappa"]).value
    assert found == pytest.approx(expected)


def test_replicates_are_those_of_the_items_drawn(build_targets: Build) -> None:
    """A figure of drawn patients is the figure of a data set that holds their items so often."""
    rng = np.random.default_rng(7)
    hard, p, group = rng.integers(0, 3, 90), probabilities(90, 8), rng.integers(0, 12, 90)
    of = scored(p, build_targets(hard, group=group))
    draws = method(6).draws(group)
    assert draws.often.shape == (6, 12)
    assert (draws.often.sum(axis=1) == 12).all()
    figures = overall_figures(of, method(6), draws)
    for row, often in enumerate(draws.often):
        items = np.repeat(np.arange(90), often[draws.patient].astype(int))
        again = overall(build_targets, p[items], hard[items])
        for name, figure in figures.items():
            assert figure.evaluate(draws.often)[row] == pytest.approx(again[name])


def test_intervals_hold_the_truth_as_often_as_they_say(build_targets: Build) -> None:
    """Of 60 studies of 25 patients with a true accuracy of 0.7, nearly all intervals hold it."""
    rng = np.random.default_rng(11)
    held = 0
    for study in range(60):
        chance = rng.beta(7, 3, 25)  # patients differ: items alone would give too narrow intervals
        group = np.repeat(np.arange(25), 8)
        right = rng.random(200) < chance[group]
        p = np.where(right[:, None], [[0.8, 0.1, 0.1]], [[0.1, 0.8, 0.1]])
        of = scored(p, build_targets(np.zeros(200, int), group=group))
        how = Method(QUADRATIC, "quadratic", 400, study)
        draws = how.draws(group)
        one = draws.statistic(overall_figures(of, how, draws)["accuracy"])
        assert one.ci_low is not None
        assert one.ci_high is not None
        held += one.ci_low <= 0.7 <= one.ci_high
    assert held >= 53  # of 60 at 95 %; so few come once in 100 times


def test_few_patients_give_no_interval(build_targets: Build) -> None:
    """Fewer than five patients: no interval, and it says how many there are."""
    of = scored(probabilities(40, 1), build_targets(np.arange(40) % 3, group=np.arange(40) % 4))
    draws = method(100).draws(of.targets.group)
    one = draws.statistic(overall_figures(of, method(100), draws)["accuracy"])
    assert (one.status, one.ci_status, one.ci_low) == ("ok", "undefined: 4 clusters", None)


def test_a_class_of_few_patients_has_no_interval_of_its_own(build_targets: Build) -> None:
    """A class that two patients have is told apart from the 20 that the whole rests on."""
    hard = np.zeros(40, int)
    hard[:4] = 2
    of = scored(probabilities(40, 2), build_targets(hard, group=np.repeat(np.arange(20), 2)))
    found = class_figures(of, method(200))
    assert found["G3"]["patients"] == 2
    assert found["G3"]["sensitivity"]["ci_status"] == "undefined: 2 clusters"  # type: ignore[index]
    assert found["G2"]["auroc"]["status"].startswith("undefined: the reference has only")  # type: ignore[index]
    assert found["G2"]["sensitivity"]["value"] is None  # type: ignore[index]


def test_one_class_is_undefined_and_never_perfect(build_targets: Build) -> None:
    """Where all is one class and called so, kappa and AUROC are undefined, not 1."""
    p = np.tile([0.9, 0.05, 0.05], (12, 1))
    of = scored(p, build_targets(np.zeros(12, int)))
    draws = method(50).draws(of.targets.group)
    found = draws.statistics(overall_figures(of, method(50), draws))
    assert found["kappa"].status == "undefined: single class"
    assert found["auroc_macro"].status == "undefined: single class"
    assert found["accuracy"].value == 1


def test_what_is_open_or_weighs_nothing_takes_no_part(build_targets: Build) -> None:
    """Open items and items without weight change no figure."""
    p = probabilities(30, 9)
    hard = np.arange(30) % 3
    without = overall(build_targets, p[:20], hard[:20])
    hard[20:25], weight = -1, np.r_[np.ones(25), np.zeros(5)]
    assert overall(build_targets, p, hard, weight=weight) == pytest.approx(without)


def test_nothing_with_a_class_says_so(build_targets: Build) -> None:
    """Without an item that has a class every figure is undefined."""
    of = scored(probabilities(6, 1), build_targets(np.full(6, -1)))
    draws = method(10).draws(of.targets.group)
    found = draws.statistics(overall_figures(of, method(10), draws))
    assert {one.value for one in found.values()} == {None}
    assert found["nll"].status == "undefined: no items with a class"


def test_sites_are_judged_by_themselves(build_targets: Build) -> None:
    """The figures of a site are those of its items alone; no site is a site of its own."""
    p, hard = probabilities(60, 12), np.arange(60) % 3
    site = np.repeat([0, 1, -1], 20)
    found = site_figures(scored(p, build_targets(hard, site=site, sites=("N", "S"))), method())
    assert list(found) == ["no site", "N", "S"]
    alone = overall(build_targets, p[20:40], hard[20:40])
    assert found["S"]["nll"]["value"] == pytest.approx(alone["nll"])  # type: ignore[index]
    assert found["S"]["items"] == 20


def test_a_model_beside_itself_differs_by_nothing() -> None:
    """The paired difference of a figure and itself is 0 in every replicate, so has no interval."""
    draws = PatientDraws.of(np.arange(30), replicates=100, seed=0)
    scores = np.random.default_rng(0).normal(size=30)
    area = Figure(area_under_roc(scores, np.arange(30) % 2 == 0, np.ones(30), draws), "none")
    one = draws.statistic(difference(area, area))
    assert one.value == 0
    assert one.ci_status == "undefined: all replicates are alike"


@pytest.mark.parametrize(
    ("p", "told"),
    [
        (np.full((3, 2), 0.5), r"shape \(3, 2\) for 3 items and 3 classes"),
        (np.array([[1, 0, 0], [np.nan, 0, 1], [1, 0, 0]]), "item 'S2' are no distribution"),
        (np.array([[1, 0, 0], [1, 0, 0], [0.5, 0, 0]]), "item 'S3' are no distribution"),
    ],
)
def test_probabilities_that_are_none_are_refused(
    build_targets: Build, p: NDArray[np.float64], told: str
) -> None:
    """Probabilities of other shapes, not numbers or not summing to 1 are refused by name."""
    with pytest.raises(InputError, match=told):
        scored(p, build_targets([0, 1, 2], names=("S1", "S2", "S3")))
