"""A training that is killed ends with the weights of one that is not, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.__main__ import TRAINING_KILLS
from tests.soak.killing_training import killed_training


@pytest.mark.parametrize(
    "kills", [4, pytest.param(TRAINING_KILLS, marks=pytest.mark.soak)], ids=str
)
def test_a_training_that_is_killed_ends_with_the_weights_of_one_that_is_not(
    tmp_path: Path, kills: int
) -> None:
    """SIGKILL at random moments, each followed by a start that goes on."""
    found = killed_training(tmp_path, kills=kills, seed=1)
    assert found.kills == kills
    assert found.same_weights
    assert found.same_history
    assert found.learnt
    assert 0 < found.stood_at[-1] < found.batches
