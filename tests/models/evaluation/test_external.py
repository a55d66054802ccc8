"""A site that the model has not seen beside those that it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from annotation.store import Store
from consensus.statistics.statistic import Statistic
from models.evaluation.external import Side, drop, told_of_drop
from models.evaluation.figures import Method, overall_figures, scored
from models.model_file import read_description
from tests.conftest import CommandResult
from tests.models.evaluation.conftest import Build
from tests.models.evaluation.study import Pathquorum, Study, released_slides, saved_model

NORTH = [f"S{number:02}" for number in range(0, 48, 2)]
SOUTH = [f"S{number:02}" for number in range(1, 48, 2)]


def side(build: Build, right: np.ndarray, seed: int) -> Side:
    """Items of a patient each, of which some are called rightly."""
    hard = np.arange(len(right)) % 3
    said = np.where(right, hard, (hard + 1) % 3)
    probabilities = np.full((len(right), 3), 0.1)
    probabilities[np.arange(len(right)), said] = 0.8
    method = Method(1.0 - np.eye(3), "nominal", bootstrap=4000, seed=seed)
    of = scored(probabilities, build(hard))
    draws = method.draws(of.targets.group)
    return Side(
        [str(item) for item in range(len(right))], draws, overall_figures(of, method, draws)
    )


def test_the_interval_of_a_drop_is_that_of_two_samples(build_targets: Build) -> None:
    """Value and BCa limits are those of scipy's bootstrap of two independent samples."""
    rng = np.random.default_rng(0)
    outside, home = rng.random(60) < 0.6, rng.random(90) < 0.85
    found = drop(side(build_targets, outside, 1), side(build_targets, home, 0), "accuracy")
    oracle = stats.bootstrap(
        (outside.astype(float), home.astype(float)),
        lambda x, y, axis: y.mean(axis=axis) - x.mean(axis=axis),
        n_resamples=4000,
        method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert found.value == pytest.approx(home.mean() - outside.mean())
    bca = found.extra["intervals"]["bca"]  # type: ignore[index]
    assert (bca["ci_low"], bca["ci_high"]) == pytest.approx((oracle.low, oracle.high), abs=0.015)
    assert found.ci_low is not None
    assert found.ci_low <= bca["ci_low"]
    assert found.extra["interval_clusters"] == 60


def test_a_loss_that_rises_is_a_drop_too(build_targets: Build) -> None:
    """Of log-loss and Brier score more is worse, and a drop above 0 means worse for all figures."""
    bad, good = np.arange(30) % 2 == 0, np.arange(30) % 10 != 0
    outside, home = side(build_targets, bad, 1), side(build_targets, good, 0)
    for kind in outside.figures:
        there, back = drop(outside, home, kind), drop(home, outside, kind)
        assert there.value is not None
        assert there.value > 0
        assert back.value == pytest.approx(-there.value)


def test_few_patients_have_a_drop_without_an_interval(build_targets: Build) -> None:
    """Four patients on one side give a value, no interval, and a sentence that shows nothing."""
    outside = side(build_targets, np.array([True, False, False, True]), 1)
    home = side(build_targets, np.ones(30, dtype=bool), 0)
    found = drop(outside, home, "accuracy")
    assert (found.value, found.ci_low, found.ci_status) == (0.5, None, "undefined: 4 clusters")
    external = {
        "site": "North",
        "drop": {"accuracy": found.to_dict()},
        "outside": {"figures": {"accuracy": outside.draws.statistic(outside.figures["accuracy"]).to_dict()}},
        "home": {"figures": {"accuracy": home.draws.statistic(home.figures["accuracy"]).to_dict()}},
    }  # fmt: skip
    assert told_of_drop(external, "accuracy", "Accuracy").startswith(
        "Accuracy is 0.50 at North and 1.00 at the other sites: 0.50 worse, without an interval "
        "(undefined: 4 clusters): nothing is shown"
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "ending"),
    [
        (0.12, 0.02, 0.2, "0.12 worse; the drop's 95 % interval is 0.02 to 0.20: the model does worse at North"),
        (0.12, -0.02, 0.2, "no drop is shown, and none is ruled out within it"),
        (-0.12, -0.2, -0.02, "0.12 better; the drop's 95 % interval is −0.20 to −0.02: the model does better at North"),
    ],
)  # fmt: skip
def test_a_sentence_claims_what_its_interval_shows(
    value: float, low: float, high: float, ending: str
) -> None:
    """Worse or better only where the interval lies on one side of 0."""
    some = replace(Statistic.undefined("x"), value=0.7, ci_low=0.6, ci_high=0.8).to_dict()
    dropped = {"value": value, "ci_low": low, "ci_high": high, "status": "ok", "ci_status": "ok"}
    figures = {"figures": {"kappa": some}}
    external = {"site": "North", "drop": {"kappa": dropped}, "outside": figures, "home": figures}
    assert told_of_drop(external, "kappa", "Kappa").endswith(ending)
    undefined = {**external, "drop": {"kappa": Statistic.undefined("single class").to_dict()}}
    assert told_of_drop(undefined, "kappa", "Kappa") == (
        "Kappa at North can't be held against the other sites: undefined: single class"
    )


@pytest.fixture
def study(store: Store, pathquorum: Pathquorum, tmp_path: Path) -> Study:
    """A released study of slides at two sites, with features."""
    return released_slides(store, pathquorum, tmp_path / "features")


@pytest.fixture
def evaluate(study: Study, pathquorum: Pathquorum, tmp_path: Path) -> Callable[..., CommandResult]:
    """Runs `evaluate`."""

    def call(model: object, *more: object) -> CommandResult:
        return pathquorum(
            "evaluate", "--model", model, "--release", "v1", "--features", study.features,
            "--to", tmp_path / "out", "--device", "cpu", "--bootstrap", 200, *more,
        )  # fmt: skip

    return call


def test_a_site_that_was_held_out_stands_beside_the_others(
    evaluate: Callable[..., CommandResult], store: Store, tmp_path: Path
) -> None:
    """All of the held-out site, and of the others the release's test part; in JSON, words and card."""
    test_part = read_description(saved_model(store, tmp_path / "m")).split["test"]
    trained = [name for name in NORTH if name not in test_part]
    model = saved_model(store, tmp_path / "o", split={"train": trained, "test": SOUTH}, seed=3)
    result = evaluate(model, "--external", "South", "--json")
    assert result.status == 0, result.err
    external = result.json["external"]
    assert (external["site"], external["part"]) == ("South", "test")
    home = [name for name in test_part if name in NORTH]
    assert (external["outside"]["slides"], external["home"]["slides"]) == (24, len(home))
    # At the site the figures are those of the part that the training held out.
    for kind, one in external["outside"]["figures"].items():
        assert one["value"] == pytest.approx(result.json["figures"][kind]["value"])
        other, dropped = external["home"]["figures"][kind], external["drop"][kind]
        sign = -1 if kind in ("nll", "brier") else 1
        assert dropped["value"] == pytest.approx(sign * (other["value"] - one["value"]))
    shown = evaluate(model, "--external", "South")
    assert "Balanced accuracy is " in shown.out
    assert " at South and " in shown.out
    page = (tmp_path / "out" / "card.html").read_text(encoding="utf-8")
    assert "External validation: site <bdi" in page
    assert evaluate(model, "--json").json["external"] is None


def test_a_site_that_was_seen_or_is_unknown_is_refused(
    evaluate: Callable[..., CommandResult], store: Store, tmp_path: Path
) -> None:
    """A model that was trained at the site, and a site that the release lacks: one line, status 1."""
    model = saved_model(store, tmp_path / "m")
    seen = evaluate(model, "--external", "South")
    assert (seen.status, seen.out) == (1, "")
    assert "is no test of model 'm', which was trained on it" in seen.err
    missing = evaluate(model, "--external", "West")
    assert missing.err == (
        "Error: release 'v1' has no site 'West'; --external takes one of: 'North', 'South'\n"
    )
    held = saved_model(store, tmp_path / "o", split={"train": NORTH, "test": SOUTH})
    assert "which was trained on it" in evaluate(held, "--external", "South").err
    assert not (tmp_path / "out").exists()
