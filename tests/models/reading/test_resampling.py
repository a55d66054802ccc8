"""Means of whole blocks of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.reading.resampling import Pixels, block_means, reduced_window
from tests.models.slides import texture


@given(reduction=st.integers(1, 40), rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 99))  # fmt: skip
def test_a_block_is_its_mean_rounded_half_up(
    reduction: int, rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Whole blocks of 255 among them: what would overflow first.
    blocks = rng.choice([0, 255], (rows, 1, columns, 1, 1))
    noise = rng.integers(0, 256, (rows, reduction, columns, reduction, 3))
    whole = np.where(rng.random((rows, 1, columns, 1, 1)) < 0.5, blocks, noise)
    pixels = whole.reshape(rows * reduction, columns * reduction, 3).astype(np.uint8)
    sums = whole.sum(axis=(1, 3))
    expected = (2 * sums + reduction**2) // (2 * reduction**2)
    assert np.array_equal(block_means(pixels, reduction), expected)


@pytest.mark.parametrize("reduction", [2, 3, 4, 7, 16, 20])
def test_means_are_pillows(reduction: int) -> None:
    pixels = texture(10 * reduction, 8 * reduction)
    by_pillow = np.asarray(Image.fromarray(pixels).reduce(reduction)).astype(int)
    assert np.abs(block_means(pixels, reduction) - by_pillow).max() <= (reduction not in (2, 4, 16))


@pytest.mark.parametrize("reduction", [1, 3, 8])
def test_a_window_read_in_blocks_is_the_one_read_at_once(
    reduction: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = texture(400, 400)
    asked: list[int] = []

    def read(x: int, y: int, width: int, height: int) -> Pixels:
        asked.append(max(width, height))
        return pixels[y : y + height, x : x + width]

    once = reduced_window(read, reduction, 5, 7, 30, 21)
    assert once.shape == (21, 30, 3)
    monkeypatch.setattr("models.reading.resampling._LARGEST_BLOCK_PX", 40)
    asked.clear()
    assert np.array_equal(reduced_window(read, reduction, 5, 7, 30, 21), once)
    assert max(asked) <= 40
