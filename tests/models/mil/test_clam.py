"""CLAM's picked tiles: which they are, and what uncertain labels make of them."""

from __future__ import annotations

import math

import pytest
import torch

from models.mil.clam import ClamNetwork, smooth_svm

FEATURES, CLASSES = 5, 3


@pytest.fixture
def made() -> ClamNetwork:
    torch.manual_seed(0)
    return ClamNetwork(
        features=FEATURES, classes=CLASSES, hidden=6, attention=4, dropout=0.0, picked=3
    )


TILES = torch.randn(12, FEATURES, generator=torch.Generator().manual_seed(1))
SCORES = torch.randn(12, generator=torch.Generator().manual_seed(2))


def test_the_loss_of_an_uncertain_bag_is_the_mean_of_the_certain_ones(made):
    label = torch.tensor([0.5, 0.3, 0.2])
    certain = torch.stack([made.tile_loss(TILES, SCORES, row) for row in torch.eye(CLASSES)])
    torch.testing.assert_close(made.tile_loss(TILES, SCORES, label), label @ certain)


def test_only_tiles_of_most_and_least_attention_get_a_gradient(made):
    tiles = TILES.clone().requires_grad_()
    made.tile_loss(tiles, SCORES, torch.eye(CLASSES)[1]).backward()
    moved = set(torch.nonzero(tiles.grad.abs().sum(dim=1)).flatten().tolist())
    order = SCORES.argsort().tolist()
    assert moved <= {*order[:3], *order[-3:]}
    assert moved & set(order[:3])
    assert moved & set(order[-3:])


def test_a_bag_of_fewer_tiles_than_are_picked_is_taken_and_padding_is_never_picked(made):
    scores = SCORES.clone()
    scores[2:] = -torch.inf
    tiles = TILES.clone()
    alone = made.tile_loss(tiles[:2], scores[:2], torch.eye(CLASSES)[0])
    tiles[2:] = 1e4
    torch.testing.assert_close(made.tile_loss(tiles, scores, torch.eye(CLASSES)[0]), alone)


def test_the_smooth_svm_is_the_logarithm_of_summed_margins():
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(12) % 3
    expected = 0.0
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        margins = [score + (place != label) - row[label] for place, score in enumerate(row)]
        expected += math.log(sum(math.exp(margin) for margin in margins)) / 12
    assert smooth_svm(logits, labels).item() == pytest.approx(expected, rel=1e-5)
