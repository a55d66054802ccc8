"""Tiles with masks for the training loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from models.labels.masks import TileMask
from models.segmentation.objectives import MaskBatch, MaskObjective
from models.targets import OPEN

__all__ = ["MaskSource", "SegmentationTask", "dice_of_classes", "to_input"]

N = TypeVar("N", bound=np.generic)
Augmentation = Callable[[NDArray[np.uint8], int, np.random.Generator], NDArray[np.uint8]]

# Of ImageNet, on which the encoders of the field were trained.
_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class MaskSource(Protocol):
    """Tiles by number, each with its masks."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> tuple[NDArray[np.uint8], TileMask]:
        """Pixels (h, w, 3) and masks of one tile."""
        ...


def to_input(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """What a network takes, float32 (b, 3, h, w), of pixels (b, h, w, 3)."""
    images = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    return (images.float() / 255 - _MEAN) / _STD


class SegmentationTask:
    """A network that learns masks, for :func:`models.training.loop.fit`.

    Parameters
    ----------
    network
        Gives logits (b, K, h, w).
    objective
        What is minimised; what it learns by itself stays in ``model``.
    source, items
        All tiles, and the numbers of those to learn.
    validation
        Numbers of tiles that are held against the consensus after each epoch.
    augment
        Changes the colours of a tile, given with its number; turns and reflections are drawn anyway.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        objective: MaskObjective,
        source: MaskSource,
        items: NDArray[np.int64],
        *,
        validation: NDArray[np.int64] | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        self.model: torch.nn.Module = torch.nn.ModuleList([network, objective])
        self._network, self._objective = network, objective
        self._source, self._items, self._validation = source, items, validation
        self._augment = augment

    def __len__(self) -> int:
        return len(self._items)

    def load(self, indices: NDArray[np.int64], rng: np.random.Generator) -> MaskBatch:
        """Tiles and masks, each turned and reflected at random, in the same way."""
        images, masks = [], []
        for item in self._items[indices].tolist():
            pixels, mask = self._source[item]
            if self._augment is not None:
                pixels = self._augment(pixels, item, rng)
            turns, reflected = int(rng.integers(4)), bool(rng.integers(2))
            images.append(_moved(pixels, turns, reflected, axes=(0, 1)))
            masks.append(
                TileMask(
                    posterior=_moved(mask.posterior, turns, reflected, axes=(-2, -1)),
                    hard=_moved(mask.hard, turns, reflected, axes=(-2, -1)),
                    votes=_moved(mask.votes, turns, reflected, axes=(-2, -1)),
                    in_domain=_moved(mask.in_domain, turns, reflected, axes=(-2, -1)),
                    labelled=_moved(mask.labelled, turns, reflected, axes=(-2, -1)),
                )
            )
        return MaskBatch.of(to_input(np.stack(images)), masks)

    def loss(self, batch: MaskBatch) -> torch.Tensor:
        """The objective's loss."""
        batch = batch.to(next(self.model.parameters()).device)
        found: torch.Tensor = self._objective(self._network(batch.images), batch)
        return found

    def validate(self) -> Mapping[str, float]:
        """Mean Dice over classes and cross-entropy, against the consensus of the validation tiles."""
        if self._validation is None or len(self._validation) == 0:
            return {}
        device = next(self.model.parameters()).device
        overlap, sizes = np.zeros(1), np.zeros(1)
        lost = weighed = 0.0
        for item in self._validation.tolist():
            pixels, mask = self._source[item]
            logs = torch.log_softmax(self._network(to_input(pixels[None]).to(device)), dim=1)
            logs_of_tile = logs[0].float().cpu().numpy()
            common, both = _overlap(logs_of_tile.argmax(axis=0), mask.hard, len(logs_of_tile))
            overlap, sizes = overlap + common, sizes + both
            lost -= float((mask.posterior * logs_of_tile * mask.labelled).sum())
            weighed += float(mask.labelled.sum())
        figures = {"dice": _mean_dice(overlap, sizes)}
        if weighed > 0:
            figures["nll"] = lost / weighed
        return figures


def dice_of_classes(
    found: NDArray[np.int64], wanted: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Dice of each class over the pixels whose wanted class is known; NaN where neither has it.

    Parameters
    ----------
    found, wanted
        Class of each pixel, of one shape; -1 in ``wanted`` where it is not known.
    """
    common, both = _overlap(found, wanted, classes)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * common / both)


def _overlap(
    found: NDArray[np.int64], wanted: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of each class in common, and in both together."""
    known = wanted != OPEN
    pairs = found[known] * classes + wanted[known]
    table = np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.float64)
    return np.diagonal(table), table.sum(axis=0) + table.sum(axis=1)


def _mean_dice(common: NDArray[np.float64], both: NDArray[np.float64]) -> float:
    """Over the classes that occur; 0 where none does."""
    shares = 2 * common[both > 0] / both[both > 0]
    return float(shares.mean()) if shares.size else 0.0


def _moved(values: NDArray[N], turns: int, reflected: bool, *, axes: tuple[int, int]) -> NDArray[N]:
    """Turned by so many right angles, and then reflected or not."""
    turned = np.rot90(values, turns, axes=axes)
    return np.ascontiguousarray(np.flip(turned, axes[1]) if reflected else turned)
