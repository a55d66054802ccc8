"""What the loop trains: a model, its data by number, and its loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Task"]

B = TypeVar("B")


class Task(Protocol[B]):
    """A model and how it learns, for :func:`models.training.loop.fit`.

    ``B`` is whatever ``load`` gives and ``loss`` takes. The loop knows neither.

    Attributes
    ----------
    model
        Its parameters that require a gradient are trained, on the device on which they are. What is
        learnt beside the network (an annotator layer) is a part of it.
    """

    model: torch.nn.Module

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def load(self, indices: NDArray[np.int64], rng: np.random.Generator) -> B:
        """One batch, by the numbers of its items.

        Runs in a thread of its own, a few batches ahead of ``loss``. Every draw (augmentation, which
        tiles of a bag) comes from ``rng``, which depends on seed, epoch and batch alone: a run that
        was killed goes on with the same batches.
        """
        ...

    def loss(self, batch: B) -> torch.Tensor:
        """The mean loss over the batch's items, a scalar; moves the batch to the model's device."""
        ...

    def validate(self) -> Mapping[str, float]:
        """Figures after an epoch, the metric of the settings among them; may be empty.

        The model is in evaluation mode and no gradient is recorded.
        """
        ...
