"""Losses of masks: against formulas of others, and blind to what lies outside the domain."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchmetrics.functional.segmentation import dice_score

from models.segmentation.losses import soft_cross_entropy, soft_dice
from models.segmentation.objectives import (
    AnnotatorMasks,
    MajorityMasks,
    MaskBatch,
    MaskObjective,
    PosteriorMasks,
    RaterMasks,
)
from models.segmentation.training import dice_of_classes

CLASSES, RATERS = 3, 2
SHAPE = (2, 5, 7)


def batch(seed: int = 0, *, sure: bool = False) -> MaskBatch:
    torch.manual_seed(seed)
    b, h, w = SHAPE
    hard = torch.randint(-1, CLASSES, SHAPE)
    posterior = torch.rand(b, CLASSES, h, w)
    posterior /= posterior.sum(dim=1, keepdim=True)
    if sure:
        posterior = functional.one_hot(hard.clamp(min=0), CLASSES).permute(0, 3, 1, 2).float()
    return MaskBatch(
        images=torch.rand(b, 3, h, w),
        posterior=posterior,
        labelled=(hard >= 0).float(),
        hard=hard,
        votes=torch.randint(-1, CLASSES, (b, RATERS, h, w)),
    )


def start() -> np.ndarray:
    return np.full((RATERS, CLASSES, CLASSES), 0.1) + 0.7 * np.eye(CLASSES)


OBJECTIVES: dict[str, Callable[[], MaskObjective]] = {
    "posterior": PosteriorMasks,
    "majority": MajorityMasks,
    "rater": lambda: RaterMasks(1),
    "annotators": lambda: AnnotatorMasks(start()),
}


def outside(given: MaskBatch, name: str) -> torch.Tensor:
    """Pixels that a loss may not look at, (b, h, w)."""
    if name == "rater":
        return given.votes[:, 1] < 0
    if name == "annotators":
        return (given.votes < 0).all(dim=1)
    return given.labelled == 0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_lies_outside_has_no_gradient(name: str) -> None:
    given = batch()
    logits = torch.randn(SHAPE[0], CLASSES, *SHAPE[1:], requires_grad=True)
    OBJECTIVES[name]()(logits, given).backward()
    assert logits.grad is not None
    size = logits.grad.abs().sum(dim=1)
    hidden = outside(given, name)
    assert hidden.any()
    assert (size[hidden] == 0).all()
    assert (size[~hidden] > 0).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_batch_without_any_label_costs_nothing_and_teaches_nothing(name: str) -> None:
    given = batch()
    empty = MaskBatch(
        given.images,
        torch.zeros_like(given.posterior),
        torch.zeros_like(given.labelled),
        torch.full_like(given.hard, -1),
        torch.full_like(given.votes, -1),
    )
    logits = torch.randn(SHAPE[0], CLASSES, *SHAPE[1:], requires_grad=True)
    loss = OBJECTIVES[name]()(logits, empty)
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert (logits.grad == 0).all()


def test_cross_entropy_of_sure_masks_is_torchs_own() -> None:
    given = batch(sure=True)
    logits = torch.randn(SHAPE[0], CLASSES, *SHAPE[1:])
    found = soft_cross_entropy(torch.log_softmax(logits, dim=1), given.posterior, given.labelled)
    torch.testing.assert_close(found, functional.cross_entropy(logits, given.hard, ignore_index=-1))


def test_dice_of_sure_masks_is_torchmetrics() -> None:
    torch.manual_seed(3)
    found, wanted = torch.randint(0, CLASSES, SHAPE), torch.randint(0, CLASSES, SHAPE)
    sure = functional.one_hot(found, CLASSES).permute(0, 3, 1, 2).float()
    posterior = functional.one_hot(wanted, CLASSES).permute(0, 3, 1, 2).float()
    loss = soft_dice(sure.clamp(min=1e-12).log(), posterior, torch.ones(SHAPE))
    score = dice_score(
        found.reshape(1, -1, 1), wanted.reshape(1, -1, 1), CLASSES, input_format="index",
        average="macro",
    )  # fmt: skip
    torch.testing.assert_close(1 - loss, score.mean(), atol=1e-5, rtol=1e-5)
    by_class = dice_of_classes(found.numpy(), wanted.numpy(), CLASSES)
    assert by_class.mean() == pytest.approx(float(score.mean()), abs=1e-6)


def test_dice_of_soft_masks_is_least_where_prediction_and_posterior_are_the_same() -> None:
    given = batch()
    weight = torch.ones(SHAPE)
    exact = soft_dice(given.posterior.log(), given.posterior, weight)
    assert float(exact) == pytest.approx(0, abs=1e-6)
    surer = torch.softmax(given.posterior.log() * 2, dim=1)
    assert soft_dice(surer.log(), given.posterior, weight) > 0.05


def test_with_raters_who_never_err_the_confusions_are_cross_entropy() -> None:
    given = batch()
    sure = np.full((RATERS, CLASSES, CLASSES), 1e-9) + (1 - 3e-9) * np.eye(CLASSES)
    logits = torch.randn(SHAPE[0], CLASSES, *SHAPE[1:])
    found = AnnotatorMasks(sure, trace_weight=0)(logits, given)
    repeated = logits.unsqueeze(1).expand(-1, RATERS, -1, -1, -1).flatten(0, 1)
    wanted = functional.cross_entropy(repeated, given.votes.flatten(0, 1), ignore_index=-1)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_confusions_are_learnt_and_the_network_is_told_the_truth() -> None:
    """A rater who swaps two classes is found out where the others say what is true."""
    rng = np.random.default_rng(0)
    truth = torch.from_numpy(rng.integers(0, 2, (1, 40, 40)))
    votes = torch.stack([truth, truth, 1 - truth], dim=1)
    given = MaskBatch(
        torch.rand(1, 3, 40, 40), torch.zeros(1, 2, 40, 40), torch.zeros(1, 40, 40), truth, votes
    )
    begin = np.tile(np.array([[0.6, 0.4], [0.4, 0.6]]), (3, 1, 1))
    begin[2] = 0.5
    objective = AnnotatorMasks(begin, trace_weight=0.01)
    logits = torch.zeros(1, 2, 40, 40, requires_grad=True)
    optimizer = torch.optim.Adam([logits, *objective.parameters()], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        objective(logits, given).backward()
        optimizer.step()
    assert (logits.argmax(dim=1) == truth).float().mean() > 0.99
    confusion = objective.confusion.detach().numpy()
    assert confusion[2, 0, 1] > 0.9
    assert confusion[0, 0, 0] > 0.9
