"""Pixels in bands: exact numbers of each kind, and a sample in which each stands for as many."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation.pixel_tallies import PatternTally, PixelSample


@given(seed=st.integers(0, 1000), raters=st.integers(0, 30), bands=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_patterns_are_counted_exactly(seed: int, raters: int, bands: int) -> None:
    """However many raters there are: 32 columns of five values are more than 64 bits hold."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(-1, 4, (2 + raters, 60 * bands)).astype(np.int16)
    pixels[:, ::2] = pixels[:, :1]
    tally = PatternTally()
    for band in np.split(pixels, bands, axis=1):
        tally.add(list(band))
    said, often = tally.patterns(2 + raters)
    made = {tuple(row): number for row, number in zip(said.tolist(), often.tolist(), strict=True)}
    assert made == Counter(map(tuple, pixels.T.tolist()))


def test_few_pixels_are_all_kept() -> None:
    """Each stands for itself, and bands make no difference."""
    rng = np.random.default_rng(1)
    p = rng.dirichlet([1] * 3, 90).astype(np.float32)
    hard = rng.integers(0, 2, 90).astype(np.int16)
    sample = PixelSample(3, 1000, np.random.default_rng(0))
    for some in np.split(np.arange(90), 3):
        sample.add(p[some], hard[some])
    taken = sample.taken()
    assert taken.stands_for.tolist() == [1] * 90
    assert taken.hard.tolist() == sorted(hard.tolist())
    assert taken.probabilities[taken.hard == 0] == pytest.approx(p[hard == 0], rel=1e-5)


def test_of_many_pixels_a_sample_stands_for_all() -> None:
    """As many of each class as fit, standing for all of it; its mean is unbiased over seeds."""
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 2], 4000).astype(np.float32)
    hard = (np.arange(4000) % 8 == 0).astype(np.int16)
    means = []
    for seed in range(40):
        sample = PixelSample(2, 50, np.random.default_rng(seed))
        for some in np.split(np.arange(4000), 8):
            sample.add(p[some], hard[some])
        taken = sample.taken()
        assert np.bincount(taken.hard).tolist() == [50, 50]
        assert np.bincount(taken.hard, weights=taken.stands_for).tolist() == pytest.approx(
            [3500, 500]
        )
        means.append(taken.probabilities[taken.hard == 0, 0].mean())
    drawn = p[hard == 0, 0]
    assert np.mean(means) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / np.sqrt(2000))


def test_no_pixel_is_an_empty_sample() -> None:
    """Of a slide on which nobody said anything."""
    taken = PixelSample(2, 5, np.random.default_rng(0)).taken()
    assert taken.probabilities.shape == (0, 2)
    assert PatternTally().patterns(3)[0].shape == (0, 3)
