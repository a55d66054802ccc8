"""Confusions counted over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from models.labels.masks import TileMask
from models.segmentation.raters import confusions_of


def mask(truth: np.ndarray, votes: np.ndarray, labelled: np.ndarray) -> TileMask:
    posterior = np.stack([truth == 0, truth == 1, truth == 2]).astype(np.float32)
    return TileMask(posterior, truth, votes, labelled, labelled)


def test_they_are_the_shares_of_what_a_rater_said_by_what_is_true() -> None:
    truth = np.array([[0, 0, 0, 0], [1, 1, 1, 1]])
    votes = np.array([[[0, 0, 0, 1], [1, 1, 0, 0]], [[0, 0, -1, -1], [2, 2, 2, -1]]])
    known = np.ones((2, 4), dtype=np.float32)
    found = confusions_of([mask(truth, votes, known)])
    wanted = np.array(
        [
            [[0.75, 0.25, 0], [0.5, 0.5, 0], [0, 0, 1]],
            [[1, 0, 0], [0, 0, 1], [0, 0, 1]],
        ]
    )
    np.testing.assert_allclose(found, (wanted + 1e-3) / 1.003, atol=1e-7)


def test_pixels_outside_the_domain_and_several_masks_count_by_their_share() -> None:
    truth, votes = np.zeros((1, 4), dtype=np.int64), np.array([[[0, 0, 1, 1]]])
    known = np.array([[1, 1, 1, 0]], dtype=np.float32)
    found = confusions_of([mask(truth, votes, known), mask(truth, votes, known * 0)])
    assert found[0, 0, 1] == pytest.approx((1 / 3 + 1e-3) / 1.003)
    assert (found > 0).all()
