"""A U-Net learns masks in the training loop, and augmentation moves tile and masks alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.labels.masks import TileMask
from models.segmentation.objectives import MajorityMasks, PosteriorMasks
from models.segmentation.training import SegmentationTask, dice_of_classes, to_input
from models.segmentation.unet import UNet
from models.training.loop import fit
from models.training.settings import TrainingSettings


class Squares:
    """Dark squares on a bright ground; class 1 is the square."""

    def __init__(self, count: int) -> None:
        self._rng = np.random.default_rng(0)
        self._tiles = [self._tile() for _ in range(count)]

    def _tile(self) -> tuple[NDArray[np.uint8], TileMask]:
        hard = np.zeros((32, 32), dtype=np.int64)
        left, top = self._rng.integers(2, 18, 2)
        hard[top : top + 10, left : left + 12] = 1
        noise = self._rng.normal(0, 15, (32, 32, 3))
        pixels = np.clip(np.where(hard[..., None] == 1, 100, 200) + noise, 0, 255)
        known = np.ones((32, 32), dtype=np.float32)
        known[:, :2] = 0
        return pixels.astype(np.uint8), TileMask(
            posterior=np.stack([hard == 0, hard == 1]).astype(np.float32) * known,
            hard=np.where(known > 0, hard, -1),
            votes=hard[None],
            in_domain=known,
            labelled=known,
        )

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], TileMask]:
        return self._tiles[index]


@pytest.mark.parametrize("objective", [PosteriorMasks, MajorityMasks])
def test_a_unet_learns_squares(objective: type[PosteriorMasks | MajorityMasks]) -> None:
    source = Squares(24)
    torch.manual_seed(0)
    network = UNet(2, width=8, depth=2)
    task = SegmentationTask(
        network, objective(), source, np.arange(16), validation=np.arange(16, 24)
    )
    history = fit(task, TrainingSettings(epochs=12, batch=4, learning_rate=3e-3, metric="dice"))
    assert history.epochs[-1].metrics["dice"] > 0.95
    pixels, mask = source[20]
    with torch.no_grad():
        found = network(to_input(pixels[None])).argmax(dim=1)[0].numpy()
    assert np.nanmin(dice_of_classes(found, mask.hard, 2)) > 0.9


def test_tiles_and_masks_move_alike_and_depend_on_the_generator_alone() -> None:
    source = Squares(4)
    task = SegmentationTask(UNet(2, width=8, depth=1), MajorityMasks(), source, np.arange(4))
    indices = np.array([3, 0, 2])
    one, again = (task.load(indices, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one.images, again.images)
    assert torch.equal(one.hard, again.hard)
    dark = one.images.mean(dim=1) < 0.6
    known = one.hard >= 0
    assert (dark[known] == (one.hard[known] == 1)).float().mean() > 0.98
    other = [task.load(indices, np.random.default_rng(seed)).hard for seed in range(6)]
    assert len({tuple(hard.flatten().tolist()) for hard in other}) > 1


def test_dice_knows_what_it_does_not_know() -> None:
    found, wanted = np.array([0, 0, 1, 2]), np.array([0, 1, 1, -1])
    dice = dice_of_classes(found, wanted, 4)
    assert dice[:2] == pytest.approx([2 / 3, 2 / 3])
    assert np.isnan(dice[2:]).all()
