"""Independent libraries as oracles: statsmodels, scikit-learn and krippendorff."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, f1_score
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa

from consensus.agreement import agreement
from tests.consensus.builders import from_matrix

SEEDS = range(6)


def noisy(
    seed: int, n_raters: int = 3, n_classes: int = 4, missing: float = 0
) -> NDArray[np.int64]:
    """Classes from 0, by raters who are right in two of three cases; -1 where missing."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(n_classes, 50, p=rng.dirichlet(np.full(n_classes, 4)))
    said = np.where(
        rng.random((50, n_raters)) < 0.6, truth[:, None], rng.integers(0, n_classes, (50, n_raters))
    )
    said[:n_classes, :] = np.arange(n_classes)[:, None]  # all use all classes
    return np.where(rng.random(said.shape) < missing, -1, said)


def as_rows(said: NDArray[np.int64]) -> list[list[int | None]]:
    return [[None if code < 0 else int(code) for code in row] for row in said]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_pairwise_kappas_are_those_of_scikit_learn(seed: int, weights: str) -> None:
    said = noisy(seed)
    found = agreement(from_matrix(as_rows(said)), weights=weights)
    name = None if weights == "nominal" else weights
    expected = [
        cohen_kappa_score(said[:, a], said[:, b], weights=name) for a, b in ((0, 1), (0, 2), (1, 2))
    ]
    assert [pair.kappa.value for pair in found.pairs] == pytest.approx(expected)
    assert found.coefficients["cohen_mean"].value == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weights", ["nominal", "linear", "quadratic"])
def test_pairwise_kappas_have_the_errors_of_statsmodels(seed: int, weights: str) -> None:
    said = noisy(seed, n_raters=2)
    table = np.zeros((4, 4))
    np.add.at(table, (said[:, 0], said[:, 1]), 1)
    steps = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    disagreement = {"nominal": steps > 0, "linear": steps, "quadratic": steps**2}[weights]
    expected = cohens_kappa(table, weights=disagreement.astype(float))
    found = agreement(from_matrix(as_rows(said)), weights=weights)
    for kappa in (found.pairs[0].kappa, found.coefficients["cohen_pooled"]):
        assert kappa.value == pytest.approx(expected.kappa)
        assert kappa.se == pytest.approx(expected.std_kappa)


@pytest.mark.parametrize("seed", SEEDS)
def test_fleiss_is_that_of_statsmodels_overall_and_for_each_class(seed: int) -> None:
    said = noisy(seed, n_raters=5)
    counts = (said[:, :, None] == np.arange(4)).sum(axis=1)
    found = agreement(from_matrix(as_rows(said)), weights="nominal")
    assert found.coefficients["fleiss"].value == pytest.approx(fleiss_kappa(counts))
    for c in range(4):
        binary = np.stack([counts[:, c], 5 - counts[:, c]], axis=1)
        expected = fleiss_kappa(binary)
        assert found.per_class[str(c)]["fleiss"].value == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("weights", "level"), [("nominal", "nominal"), ("quadratic", "interval")])
def test_alpha_is_that_of_krippendorff_with_missing_ratings(
    seed: int, weights: str, level: str
) -> None:
    said = noisy(seed, n_raters=4, missing=0.3)
    data = np.where(said < 0, np.nan, said).T
    expected = krippendorff.alpha(reliability_data=data, level_of_measurement=level)
    found = agreement(from_matrix(as_rows(said)), weights=weights)
    assert found.coefficients["krippendorff"].value == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_nominal_per_class_kappa_of_two_raters_is_cohen_of_one_against_the_rest(seed: int) -> None:
    said = noisy(seed, n_raters=2)
    found = agreement(from_matrix(as_rows(said)), weights="nominal")
    for c in range(4):
        expected = cohen_kappa_score(said[:, 0] == c, said[:, 1] == c)
        assert found.per_class[str(c)]["kappa"].value == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_dice_and_detection_are_f1_of_scikit_learn(seed: int) -> None:
    said = noisy(seed, n_raters=2)
    names = np.array(["background", "a", "b", "c"])
    found = agreement(from_matrix(names[said].tolist()), weights="nominal")
    for c, name in enumerate(names):
        expected = f1_score(said[:, 0] == c, said[:, 1] == c)
        assert found.per_class[name]["dice"].value == pytest.approx(expected)
    expected = f1_score(said[:, 0] > 0, said[:, 1] > 0)
    assert found.f1.value == pytest.approx(expected)
    assert found.f1_pairs[0].f1.value == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_weighted_per_class_kappa_is_its_definition(seed: int) -> None:
    """Numerators and denominators are summed over pairs by their co-rated weight."""
    said = noisy(seed, n_raters=3, missing=0.2)
    weight = np.random.default_rng(seed).random(50)
    steps = np.abs(np.subtract.outer(np.arange(4), np.arange(4))) / 3
    above, below = np.zeros(4), np.zeros(4)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        rated = (said[:, a] >= 0) & (said[:, b] >= 0)
        table = np.zeros((4, 4))
        np.add.at(table, (said[rated, a], said[rated, b]), weight[rated])
        expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
        for c in range(4):
            cells = np.zeros((4, 4), dtype=bool)
            cells[c, :] = cells[:, c] = True
            above[c] += (steps * table)[cells].sum()
            below[c] += (steps * expected)[cells].sum()
    found = agreement(from_matrix(as_rows(said), weight=weight), weights="linear")
    values = [found.per_class[str(c)]["kappa"].value for c in range(4)]
    assert values == pytest.approx(1 - above / below)
