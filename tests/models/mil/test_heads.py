"""Heads give distributions; that for grades is the continuation-ratio model of CORN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from annotation.errors import InputError
from models.mil.heads import OrdinalHead, class_head


@given(
    kind=st.sampled_from(["nominal", "ordinal"]),
    classes=st.integers(2, 7),
    scale=st.floats(0.1, 100),
    seed=st.integers(0, 99),
)
def test_probabilities_are_positive_and_sum_to_one(kind, classes, scale, seed):
    torch.manual_seed(seed)
    head = class_head(kind, 5, classes)
    logs = head(scale * torch.randn(3, 2, 5))
    assert logs.shape == (3, 2, classes)
    assert (logs <= 1e-6).all()
    torch.testing.assert_close(
        logs.double().exp().sum(dim=-1), torch.ones(3, 2).double(), atol=1e-5, rtol=0
    )


def test_cross_entropy_on_grades_is_corn_summed_over_its_conditional_tasks():
    torch.manual_seed(0)
    head = OrdinalHead(6, 4)
    vectors, grades = (
        torch.randn(50, 6),
        torch.from_numpy(np.random.default_rng(0).integers(0, 4, 50)),
    )
    ours = functional.nll_loss(head(vectors), grades, reduction="sum")
    steps = head.linear(vectors)
    corn = torch.zeros(())
    for step in range(3):  # the task of step k: those who reached it, did they go beyond?
        reached = grades >= step
        beyond = (grades[reached] > step).float()
        corn += functional.binary_cross_entropy_with_logits(
            steps[reached, step], beyond, reduction="sum"
        )
    torch.testing.assert_close(ours, corn)


def test_a_higher_step_moves_probability_to_higher_grades_alone():
    head = OrdinalHead(1, 4)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
        before = head(torch.zeros(1)).exp()
        head.linear.bias[1] = 2.0
        after = head(torch.zeros(1)).exp()
    torch.testing.assert_close(after[0], before[0])
    assert after[1] < before[1]
    assert (after[2:] > before[2:]).all()


def test_one_class_and_unknown_heads_are_refused():
    with pytest.raises(InputError, match="two classes or more, not 1"):
        class_head("nominal", 3, 1)
    with pytest.raises(InputError, match="head 'circular' is unknown; take nominal or ordinal"):
        class_head("circular", 3, 3)
