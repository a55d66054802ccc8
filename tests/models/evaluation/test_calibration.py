"""Calibration: errors against torchmetrics, temperatures that are known, parts that are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torchmetrics.functional.classification import multiclass_calibration_error

from annotation.errors import RefusedError
from models.evaluation.calibration import N_BINS, fit_temperature, reliability, tempered
from models.evaluation.figures import Method, scored
from models.targets import Targets

Build = Callable[..., Targets]

METHOD = Method(1.0 - np.eye(3), "nominal", 0)


def logits(n: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 2, (n, 3))


def softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def drawn_from(p: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """A class of each item, by its probabilities."""
    return (np.random.default_rng(seed).random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_error_over_bins_of_equal_width_is_torchmetrics(build_targets: Build, seed: int) -> None:
    """The calibration error over bins of equal width is that of torchmetrics."""
    p = softmax(logits(80, seed))
    hard = np.random.default_rng(seed).integers(0, 3, 80)
    found = reliability(scored(p, build_targets(hard)), METHOD).equal_width.value
    oracle = multiclass_calibration_error(
        torch.from_numpy(p), torch.from_numpy(hard), 3, n_bins=N_BINS
    )
    assert found == pytest.approx(float(oracle), abs=1e-6)


def test_bins_of_equal_mass_hold_equally_many(build_targets: Build) -> None:
    """150 items fall into 15 bins of 10, and the error is the one counted over these by hand."""
    p = softmax(logits(150, 1))
    hard = np.random.default_rng(1).integers(0, 3, 150)
    found = reliability(scored(p, build_targets(hard)), METHOD)
    assert [one.items for one in found.bins] == [10] * 15
    order = np.argsort(p.max(axis=1))
    right = (p.argmax(axis=1) == hard)[order].reshape(15, 10).mean(axis=1)
    confidence = p.max(axis=1)[order].reshape(15, 10).mean(axis=1)
    assert found.equal_mass.value == pytest.approx(np.abs(right - confidence).mean())
    assert [one.right.value for one in found.bins] == pytest.approx(right.tolist())


def test_weights_are_as_items_repeated(build_targets: Build) -> None:
    """An item of weight 3 counts as three items."""
    p, hard = softmax(logits(60, 2)), np.random.default_rng(2).integers(0, 3, 60)
    weight = np.random.default_rng(3).integers(1, 4, 60)
    times = np.repeat(np.arange(60), weight)
    weighted = reliability(scored(p, build_targets(hard, weight=weight)), METHOD)
    repeated = reliability(scored(p[times], build_targets(hard[times])), METHOD)
    assert weighted.equal_width.value == pytest.approx(repeated.equal_width.value)
    assert weighted.equal_mass.value == pytest.approx(repeated.equal_mass.value)


def test_items_of_one_confidence_share_a_bin(build_targets: Build) -> None:
    """A model that is always as sure has one bin, whose error is the distance of two means."""
    p = np.tile([0.8, 0.1, 0.1], (40, 1))
    found = reliability(scored(p, build_targets(np.arange(40) % 2)), METHOD)
    assert [one.items for one in found.bins] == [40]
    assert found.equal_mass.value == pytest.approx(0.3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_temperature_is_found_again(build_targets: Build, temperature: float) -> None:
    """Where classes are drawn from cooled or warmed probabilities, the fit finds by how much."""
    raw = logits(4000, 5)
    hard = drawn_from(softmax(raw / temperature), 6)
    found = fit_temperature(softmax(raw), build_targets(hard, part="calibration"))
    assert found.value == pytest.approx(temperature, rel=0.08)
    assert found.nll_after <= found.nll_before
    assert found.items == found.patients == 4000
    assert found.note is None


def test_no_temperature_is_better(build_targets: Build) -> None:
    """The log-loss at the fitted temperature is the least of a fine grid."""
    raw = logits(300, 7)
    targets = build_targets(drawn_from(softmax(raw / 1.7), 8), part="calibration")
    found = fit_temperature(softmax(raw), targets)
    grid = [
        scored(tempered(softmax(raw), t), targets).log_loss.mean()
        for t in np.geomspace(0.1, 10, 400)
    ]
    assert found.nll_after <= min(grid) + 1e-9


@given(seed=st.integers(0, 1000), temperature=st.floats(0.1, 10))
@settings(max_examples=30)
def test_a_temperature_divides_logits(seed: int, temperature: float) -> None:
    """Tempered probabilities are the softmax of divided logits, and keep the order of classes."""
    raw = logits(10, seed)
    found = tempered(softmax(raw), temperature)
    assert found == pytest.approx(softmax(raw / temperature), abs=1e-9)
    assert (found.argmax(axis=1) == raw.argmax(axis=1)).all()


def test_certainty_survives_a_temperature() -> None:
    """Probabilities of exactly 0 and 1 stay finite."""
    assert np.isfinite(tempered(np.eye(3), 20.0)).all()


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_other_parts_are_refused(build_targets: Build, part: str) -> None:
    """A temperature is fitted on the calibration part alone: one item of another is refused."""
    targets = build_targets([0, 1, 2], part=part)
    with pytest.raises(RefusedError, match=f"the part '{part}' would flatter"):
        fit_temperature(np.full((3, 3), 1 / 3), targets)


def test_nothing_to_fit_on_is_refused(build_targets: Build) -> None:
    """Without an item that has a class there is no temperature."""
    with pytest.raises(RefusedError, match="no item of the part 'calibration' has a class"):
        fit_temperature(np.full((2, 3), 1 / 3), build_targets([-1, -1], part="calibration"))


def test_a_temperature_at_its_bound_says_so(build_targets: Build) -> None:
    """A model that is always right asks for no temperature at all, which is told."""
    p = np.eye(3) * 0.7 + 0.1
    found = fit_temperature(p, build_targets([0, 1, 2], part="calibration"))
    assert found.note is not None
    assert "stands at its bound of 0.05" in found.note
