"""Figures of masks: Dice by scikit-learn, distances by slide, and what has neither."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import f1_score

from models.evaluation.figures import Method, Scored
from models.evaluation.mask_figures import MaskDistances, mean_dice, per_class
from models.noise.objectives import one_hot
from models.targets import Targets

Build = Callable[..., Targets]
METHOD = Method(1.0 - np.eye(3), "nominal", 200)


def scored_kinds(build_targets: Build, seed: int, classes: int) -> Scored:
    """Kinds of pixels on 8 slides; the last of three classes is never said where there are two."""
    rng = np.random.default_rng(seed)
    wanted, said = rng.integers(0, classes, (2, 80))
    targets = build_targets(
        wanted, group=np.arange(80) // 10, weight=rng.integers(1, 500, 80).astype(float)
    )
    return Scored(one_hot(said, 3).astype(float), wanted, targets, np.arange(80))


def test_dice_is_scikit_learns_by_area(build_targets: Build) -> None:
    """Of each class, and their mean; with an interval over patients."""
    of = scored_kinds(build_targets, 1, 3)
    distances = MaskDistances(np.full((8, 1, 3, 2), np.nan), np.arange(8), np.zeros(8, np.int64))
    told = per_class(of, distances, 0, METHOD)
    expected = f1_score(of.reference, of.said, average=None, sample_weight=of.weight)
    found = [one["dice"] for one in told.values()]
    assert [one["value"] for one in found] == pytest.approx(expected)  # type: ignore[index]
    assert all(one["ci_low"] < one["value"] < one["ci_high"] for one in found)  # type: ignore[index]
    draws = METHOD.draws(of.targets.group)
    assert draws.statistic(mean_dice(of, of.said, draws)).value == pytest.approx(expected.mean())


def test_distances_are_means_over_slides_that_have_both(build_targets: Build) -> None:
    """A slide on which one mask has no outline of a class counts for no distance of it."""
    of = scored_kinds(build_targets, 2, 3)
    um = np.random.default_rng(3).uniform(1, 9, (8, 2, 3, 2))
    um[5, 1, 2] = np.nan
    um[:, 1, 0] = np.nan
    told = per_class(of, MaskDistances(um, np.arange(8), np.arange(8) % 2), 1, METHOD)
    assert told["G3"]["outlined_slides"] == 7
    for place, kind in enumerate(("surface_distance_um", "hausdorff_95_um")):
        expected = np.nanmean(um[:, 1, 2, place])
        assert told["G3"][kind]["value"] == pytest.approx(expected)  # type: ignore[index]
        status = told["G1"][kind]["status"]  # type: ignore[index]
        assert status == "undefined: no slide on which both masks have an outline of it"
    odd = MaskDistances(um, np.arange(8), np.arange(8) % 2).of_site(1)
    np.testing.assert_array_equal(odd.um, um[1::2])
    assert odd.group.tolist() == [1, 3, 5, 7]


def test_a_class_that_is_nowhere_is_undefined(build_targets: Build) -> None:
    """It has no Dice and takes no part in the mean."""
    of = scored_kinds(build_targets, 4, 2)
    distances = MaskDistances(np.full((8, 1, 3, 2), np.nan), np.arange(8), np.zeros(8, np.int64))
    told = per_class(of, distances, 0, METHOD)
    assert told["G3"]["dice"]["status"] == "undefined: neither mask holds it"  # type: ignore[index]
    draws = METHOD.draws(of.targets.group)
    expected = f1_score(of.reference, of.said, average="macro", sample_weight=of.weight)
    assert draws.statistic(mean_dice(of, of.said, draws)).value == pytest.approx(expected)
