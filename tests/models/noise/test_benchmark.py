"""The noise benchmark: what was frozen is as it was, and gates say what their figures say."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.noise import frozen
from tests.benchmarks.noise.cells import Cell, balanced_accuracy, run_cell
from tests.benchmarks.noise.report import gate_outcome, paired_interval

FROZEN = "e5801682a591651540dc828e0f5051bd9c14ca9dbf53d62585c46351e9141c53"


def cells(gains: np.ndarray) -> list[Cell]:
    """Seeds in which one method beats the other by so much."""
    return [
        Cell("biased", seed, {"new": 0.5 + gain, "old": 0.5}, [], 0.8, {}, 1.0)
        for seed, gain in enumerate(gains)
    ]


def test_the_frozen_file_is_the_one_that_was_committed_before_any_method():
    assert frozen.sha256() == FROZEN


def test_bags_are_the_same_in_every_regime_and_in_the_clean_one_every_label_is_right():
    clean, _ = frozen.draw("clean", 77)
    biased, _ = frozen.draw("biased", 77)
    np.testing.assert_array_equal(clean.images, biased.images)
    np.testing.assert_array_equal(clean.grades, biased.grades)
    np.testing.assert_array_equal(frozen.majority(clean.votes, 77), clean.grades)


def test_a_gate_holds_by_its_bound_alone():
    gains = np.linspace(0.02, 0.06, 30)
    low, high = paired_interval(gains)
    assert low < gains.mean() < high
    told = cells(gains)
    assert gate_outcome(frozen.Gate("new", "old", "biased", above=low - 1e-6), told).startswith(
        "holds"
    )
    assert gate_outcome(frozen.Gate("new", "old", "biased", above=low + 1e-6), told).startswith(
        "FAILED"
    )
    assert gate_outcome(frozen.Gate("new", "old", "biased", within=high + 1e-6), told).startswith(
        "holds"
    )
    assert gate_outcome(frozen.Gate("new", "old", "biased", within=high - 1e-6), told).startswith(
        "FAILED"
    )


def test_the_interval_is_the_percentile_bootstrap_of_paired_differences():
    gains = np.random.default_rng(0).normal(0.03, 0.01, 30)
    low, high = paired_interval(gains)
    error = gains.std(ddof=1) / np.sqrt(30)
    assert low == pytest.approx(gains.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(gains.mean() + 1.96 * error, abs=0.2 * error)


def test_balanced_accuracy_is_scikit_learns():
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(1)
    truth, said = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    assert balanced_accuracy(truth, said) == pytest.approx(balanced_accuracy_score(truth, said))


def test_a_cell_runs_every_method_and_gives_the_same_again(monkeypatch):
    monkeypatch.setattr(frozen, "EPOCHS", 1)
    first, second = run_cell("carcinoma", 77), run_cell("carcinoma", 77)
    assert first.accuracy == second.accuracy
    assert len(first.accuracy) == 9
    assert {gate.of for gate in frozen.GATES} <= set(first.accuracy)
    assert {gate.over for gate in frozen.GATES} <= set(first.accuracy)
    assert first.kappa == pytest.approx(frozen.REGIMES["carcinoma"].kappa, abs=0.08)
