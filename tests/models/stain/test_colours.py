"""Normalisation, augmentation and Reinhard's colours: against others' code, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.color import lab2rgb, rgb2lab

from annotation.errors import InputError
from models.errors import StainError
from models.stain.augmentation import StainAugmentation
from models.stain.density import intensities, optical_density
from models.stain.macenko import macenko
from models.stain.normalisation import normalise
from models.stain.reinhard import Colours, from_lab, reinhard, repaint, to_lab
from models.stain.stains import REFERENCE, Stains
from tests.models.stain.conftest import VECTORS, Tissue, degrees_apart

TRUE = Stains(VECTORS, np.array([2.0, 1.5]), "macenko")


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.abs(one.astype(np.int64) - other.astype(np.int64))


def test_a_slide_under_its_own_stains_stays_as_it_is(tissue: Tissue) -> None:
    """Normalised to itself, a slide of two stains changes by no more than three grey levels."""
    pixels = tissue(noise=0)
    assert apart(normalise(pixels, TRUE, TRUE), pixels).max() <= 3
    noisy = tissue(noise=0.01)
    found = macenko(noisy, "S")
    assert np.percentile(apart(normalise(noisy, found, found), noisy), 99) <= 6


def test_normalised_slides_have_the_references_stains(tissue: Tissue) -> None:
    """Two slides of different strengths look alike afterwards: as the reference does."""
    for strength in ((1.4, 1.0), (0.9, 1.6)):
        pixels = tissue(strength=strength, noise=0.002)
        again = macenko(normalise(pixels, macenko(pixels, "S")), "S")
        reference = REFERENCE.vectors / np.linalg.norm(REFERENCE.vectors, axis=0)
        assert degrees_apart(again.vectors, reference).max() < 3
        assert again.strongest == pytest.approx(REFERENCE.strongest, rel=0.1)


def test_normalisation_is_torchstains(tissue: Tissue) -> None:
    """With the same stains the same picture as torchstain's, but for the one added to each level."""
    module = pytest.importorskip(
        "torchstain.numpy.normalizers.macenko",
        reason="needs torchstain, an implementation by others",
    )
    pixels = tissue(glass=0)
    pixels = pixels[(optical_density(pixels) >= 0.15).all(axis=1)][:9000].reshape(90, 100, 3)
    expected = module.NumpyMacenkoNormalizer().normalize(pixels, stains=False)[0]
    found = normalise(pixels, macenko(pixels.reshape(-1, 3), "S"))
    assert found.shape == pixels.shape
    assert apart(found, expected).max() <= 2


def test_pixels_are_normalised_one_by_one(tissue: Tissue) -> None:
    """The neighbours of a pixel play no part in it."""
    pixels = tissue(2000)
    order = np.random.default_rng(0).permutation(2000)
    assert (normalise(pixels[order], TRUE) == normalise(pixels, TRUE)[order]).all()


@given(seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_augmentation_scales_and_shifts_concentrations(seed: int) -> None:
    """Each stain's concentrations are those before, times a factor and plus a shift within bounds."""
    rng = np.random.default_rng(seed)
    amount = rng.uniform(0.3, 1.0, (500, 2))
    pixels = np.asarray(240 * np.exp(-amount @ VECTORS.T) - 1).round().astype(np.uint8)
    drawn = StainAugmentation(0.2, 0.05)(pixels, TRUE, np.random.default_rng(seed))
    before, after = TRUE.concentrations(pixels), TRUE.concentrations(drawn)
    for stain in range(2):
        factor, shift = np.polyfit(before[:, stain], after[:, stain], 1)
        assert 0.78 <= factor <= 1.22
        assert abs(shift) <= 0.05 * TRUE.strongest[stain] + 0.03
        assert after[:, stain] == pytest.approx(factor * before[:, stain] + shift, abs=0.06)


def test_augmentation_is_drawn_by_its_generator(tissue: Tissue) -> None:
    """The same generator state gives the same tile, another one another; nothing drawn, no change."""
    pixels, augment = tissue(1000), StainAugmentation()
    one, same, other = (augment(pixels, TRUE, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any()
    still = StainAugmentation(0, 0)(pixels, TRUE, np.random.default_rng(1))
    assert apart(still, pixels).max() <= 1


def test_augmentation_keeps_what_is_no_stain() -> None:
    """A green pen mark, which no stain explains, is still green after augmentation."""
    pen = np.array([[40, 160, 60]], np.uint8)
    drawn = StainAugmentation()(pen, TRUE, np.random.default_rng(0))[0]
    assert drawn.argmax() == 1
    assert drawn[1] > drawn[0] + 60


@pytest.mark.parametrize(("scale", "shift"), [(-0.1, 0.0), (1.0, 0.0), (0.1, 1.5), (np.nan, 0.1)])
def test_an_augmentation_without_sense_is_refused(scale: float, shift: float) -> None:
    """Factors of 0 or less and shifts beyond the slide's strength are refused."""
    with pytest.raises(InputError, match="must be 0 or more and below 1"):
        StainAugmentation(scale, shift)


def test_lab_is_scikit_images() -> None:
    """L*a*b* and back are scikit-image's, over all of sRGB."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    pixels = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 3)
    lab = rgb2lab(pixels[None])[0]
    assert to_lab(pixels) == pytest.approx(lab, abs=0.01)
    assert apart(from_lab(to_lab(pixels)), pixels).max() == 0
    expected = np.rint(lab2rgb(lab[None])[0] * 255).astype(np.uint8)
    assert apart(from_lab(lab), expected).max() <= 1


def test_colours_are_those_of_all_tissue(tissue: Tissue) -> None:
    """Eosin counts however little red it absorbs, and glass doesn't."""
    rng = np.random.default_rng(0)
    stained = [intensities(rng.uniform(0.6, 1.2, (4000, 1)) * vector) for vector in VECTORS.T]
    pale = intensities(rng.uniform(0.6, 1.2, (4000, 1)) * np.array([0.08, 0.85, 0.5]))
    everything = np.concatenate([*stained, pale])
    glass = np.full((9000, 3), 238, np.uint8)
    found = reinhard(np.concatenate([everything, glass]), "S")
    assert found.mean == pytest.approx(to_lab(everything).mean(axis=0))
    assert found.spread == pytest.approx(to_lab(everything).std(axis=0))


def test_repainted_slides_have_the_references_colours(tissue: Tissue) -> None:
    """Mean and spread become the reference's; a slide painted with its own colours stays."""
    pixels = tissue(glass=0)
    own = reinhard(pixels, "S")
    assert apart(repaint(pixels, own, own), pixels).max() <= 1
    reference = Colours(own.mean + np.array([2, -4, 3]), own.spread * 0.8)
    lab = to_lab(repaint(pixels, own, reference))
    used = (optical_density(pixels) >= 0.15).any(axis=1)
    assert lab[used].mean(axis=0) == pytest.approx(reference.mean, abs=0.6)
    assert lab[used].std(axis=0) == pytest.approx(reference.spread, rel=0.06)


def test_slides_without_colours_are_refused(tissue: Tissue) -> None:
    """Too few pixels, and one colour everywhere, are refused by the slide's name."""
    with pytest.raises(StainError, match=r"slide 'S' has 0 stained pixels"):
        reinhard(np.full((5000, 3), 240, np.uint8), "S")
    with pytest.raises(
        StainError, match=r"slide 'S' is of one colour \(a channel spreads by 0.00\)"
    ):
        reinhard(np.full((5000, 3), 90, np.uint8), "S")
