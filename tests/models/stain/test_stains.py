"""Stains of known mixtures are found again; estimates that mean nothing are refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import DictionaryLearning
from sklearn.linear_model import Lasso

from annotation.errors import InputError
from models.errors import StainError
from models.stain.density import CLEAR, TRANSMITTED, intensities, optical_density, stained
from models.stain.macenko import macenko
from models.stain.stains import REFERENCE, Stains
from models.stain.vahadane import PENALTY, factorise, sparse_concentrations, vahadane
from tests.models.stain.conftest import VECTORS, Tissue, degrees_apart

Fit = Callable[[NDArray[np.uint8], str], Stains]

BOTH = pytest.mark.parametrize("fit", [macenko, vahadane])


def test_densities_and_intensities_are_inverse() -> None:
    """Each grey level comes back from its density; a density of 0 is clear glass."""
    levels = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
    assert (intensities(optical_density(levels)) == levels).all()
    assert intensities(np.zeros(3)).tolist() == [TRANSMITTED - 1] * 3
    assert intensities(np.array([-9.0, 0.0, 99.0])).tolist() == [255, 239, 0]


@BOTH
@pytest.mark.parametrize("seed", range(3))
def test_known_stains_are_found(fit: Fit, tissue: Tissue, seed: int) -> None:
    """Vectors of a known mixture are found within 4 degrees, haematoxylin first."""
    found = fit(tissue(seed=seed), "S")
    assert degrees_apart(found.vectors, VECTORS).max() < 4
    assert found.strongest == pytest.approx([3.1, 2.2], rel=0.25)


@BOTH
@given(seed=st.integers(0, 1000), tilt=st.floats(-0.12, 0.12))
@settings(max_examples=8)
def test_other_stains_are_found_too(fit: Fit, seed: int, tilt: float) -> None:
    """Stains of another laboratory, tilted by up to 7 degrees each, are found within 5 degrees."""
    rng = np.random.default_rng(seed)
    vectors = VECTORS + tilt * np.array([[0.5, 0.3], [-0.4, -0.1], [0.6, 0.5]])
    vectors = vectors / np.linalg.norm(vectors, axis=0)
    amount = rng.gamma(4.0, 0.25, (6000, 2)) * rng.choice([0.02, 1.0], (6000, 2))
    found = fit(intensities(amount @ vectors.T), "S")
    assert degrees_apart(found.vectors, vectors).max() < 5


@BOTH
def test_the_order_of_pixels_plays_no_part(fit: Fit, tissue: Tissue) -> None:
    """The same pixels in another order give the same stains."""
    pixels = tissue(5000)
    one, other = fit(pixels, "S"), fit(pixels[np.random.default_rng(1).permutation(5000)], "S")
    assert one.vectors == pytest.approx(other.vectors, abs=1e-6)
    assert one.strongest == pytest.approx(other.strongest, abs=1e-6)


@BOTH
def test_glass_plays_no_part(fit: Fit, tissue: Tissue) -> None:
    """Glass around the tissue changes nothing."""
    pixels = tissue(5000, glass=0)
    glass = np.full((9000, 3), 238, np.uint8)
    assert fit(np.concatenate([glass, pixels]), "S").vectors == pytest.approx(
        fit(pixels, "S").vectors, abs=1e-9
    )


def test_macenko_is_torchstains(tissue: Tissue) -> None:
    """Vectors and strengths are those of torchstain, which has the method from Macenko's code."""
    module = pytest.importorskip(
        "torchstain.numpy.normalizers.macenko",
        reason="needs torchstain, an implementation by others",
    )
    for seed in range(4):
        pixels = tissue(seed=seed, glass=0)
        pixels = pixels[(optical_density(pixels) >= CLEAR).all(axis=1)]
        oracle = module.NumpyMacenkoNormalizer()
        oracle.fit(pixels[None])
        found = macenko(pixels, "S")
        assert found.vectors == pytest.approx(oracle.HERef, abs=1e-4)
        assert found.strongest == pytest.approx(oracle.maxCRef, rel=1e-3)


@given(seed=st.integers(0, 10_000), penalty=st.sampled_from([0.01, 0.1, 0.5]))
@settings(max_examples=20)
def test_sparse_concentrations_are_those_of_scikit_learns_lasso(seed: int, penalty: float) -> None:
    """The closed form for two stains is the positive lasso, pixel by pixel."""
    rng = np.random.default_rng(seed)
    vectors = rng.random((3, 2))
    vectors /= np.linalg.norm(vectors, axis=0)
    densities = rng.random((12, 3)) * 2
    found = sparse_concentrations(densities, vectors, penalty)
    lasso = Lasso(
        alpha=penalty / 3, positive=True, fit_intercept=False, tol=1e-10, max_iter=100_000
    )
    oracle = np.array([lasso.fit(vectors, density).coef_ for density in densities])
    assert found == pytest.approx(oracle, abs=1e-4)


def test_the_factorisation_is_as_good_as_scikit_learns(tissue: Tissue) -> None:
    """No worse on its objective than scikit-learn's dictionary learning, and at the same vectors."""
    densities = stained(tissue(400, noise=0.02))
    start = (REFERENCE.vectors / np.linalg.norm(REFERENCE.vectors, axis=0)).T
    oracle = DictionaryLearning(
        2, alpha=PENALTY, fit_algorithm="cd", transform_algorithm="lasso_cd", dict_init=start,
        code_init=np.ones((len(densities), 2)), positive_code=True, positive_dict=True,
        max_iter=200, tol=1e-10, random_state=0, transform_max_iter=5000,
    ).fit(densities)  # fmt: skip
    found = factorise(densities)

    def objective(vectors: NDArray[np.float64]) -> float:
        amount = sparse_concentrations(densities, vectors, PENALTY)
        rest = ((densities - amount @ vectors.T) ** 2).sum(axis=1) / 2
        return float((rest + PENALTY * amount.sum(axis=1)).mean())

    theirs = oracle.components_.T
    assert objective(found) <= objective(theirs) + 1e-6
    assert degrees_apart(found / np.linalg.norm(found, axis=0),
                         theirs / np.linalg.norm(theirs, axis=0)).max() < 0.5  # fmt: skip


def test_parallel_vectors_have_a_solution() -> None:
    """Two equal vectors: what both would explain goes to the first."""
    vector = VECTORS[:, :1].repeat(2, axis=1)
    found = sparse_concentrations(VECTORS.T, vector, 0.0)
    assert found[0] == pytest.approx([1, 0])


@BOTH
def test_too_little_tissue_is_refused(fit: Fit, tissue: Tissue) -> None:
    """Fewer than 1000 stained pixels are refused, by the slide's name; glass does not count."""
    pixels = np.concatenate([np.full((50_000, 3), 238, np.uint8), tissue(600, glass=0)])
    with pytest.raises(
        StainError, match=r"slide 'A/1' has \d{3} stained pixels of 1000 needed"
    ) as told:
        fit(pixels, "A/1")
    assert told.value.slide == "A/1"


def test_a_single_stain_is_refused_by_macenko() -> None:
    """Haematoxylin alone has no second direction: the two ends are nearly parallel."""
    rng = np.random.default_rng(0)
    amount = rng.gamma(4, 0.3, (5000, 1))
    pixels = intensities(amount * VECTORS[:, 0] + rng.normal(0, 0.001, (5000, 3)))
    with pytest.raises(
        StainError, match=r"'S' can't be told apart by macenko: the two stains are \d"
    ):
        macenko(pixels, "S")


def test_a_single_stain_is_refused_by_vahadane() -> None:
    """A slide of one colour leaves hardly anything to the second stain, or makes both the same."""
    rng = np.random.default_rng(0)
    amount = rng.gamma(4, 0.3, (5000, 1))
    pixels = intensities(amount * VECTORS[:, 0] + rng.normal(0, 0.001, (5000, 3)))
    with pytest.raises(StainError, match="'S' can't be told apart by vahadane: "):
        vahadane(pixels, "S")


def test_black_and_grey_slides_are_refused() -> None:
    """A slide scanned without light has one density everywhere: nothing tells stains apart."""
    with pytest.raises(StainError, match="'S' can't be told apart by macenko"):
        macenko(np.zeros((5000, 3), np.uint8), "S")
    grey = np.random.default_rng(0).integers(0, 150, (5000, 1)).astype(np.uint8).repeat(3, axis=1)
    with pytest.raises(StainError, match="'S' can't be told apart by macenko"):
        macenko(grey, "S")


def test_stains_are_kept_as_plain_numbers(tissue: Tissue) -> None:
    """Stains come back from their document; anything else is refused."""
    found = macenko(tissue(4000), "S")
    again = Stains.from_dict(found.to_dict())
    assert (again.vectors == found.vectors).all()
    assert (again.strongest == found.strongest).all()
    for wrong in (
        {},
        {**found.to_dict(), "vectors": [[1, 2]]},
        {**found.to_dict(), "strongest": [1, float("nan")]},
    ):
        with pytest.raises(InputError, match="stains"):
            Stains.from_dict(wrong)
