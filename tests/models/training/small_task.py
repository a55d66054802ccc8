"""A task that leaves nothing out: dropout, batch normalisation, draws from every generator."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from models.training.settings import TrainingSettings

SETTINGS = TrainingSettings(
    epochs=4, batch=16, learning_rate=0.02, warmup=0.2, metric="accuracy", clip_norm=1.0, seed=3
)


class SmallTask:
    """Three classes of 8 numbers each, 50 items."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        centres = rng.normal(size=(3, 8))
        self.labels = torch.from_numpy(rng.integers(0, 3, 50))
        self.features = torch.from_numpy(
            (centres[self.labels] + rng.normal(size=(50, 8))).astype(np.float32)
        )
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.model = torch.nn.Sequential(
                torch.nn.Linear(8, 16),
                torch.nn.BatchNorm1d(16),
                torch.nn.ReLU(),
                torch.nn.Dropout(0.3),
                torch.nn.Linear(16, 3),
            )

    def __len__(self) -> int:
        return len(self.labels)

    def load(
        self, indices: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Features with noise on them, and labels."""
        noise = rng.normal(scale=0.1, size=(len(indices), 8)).astype(np.float32)
        return self.features[indices] + torch.from_numpy(noise), self.labels[indices]

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Cross-entropy, stretched by what the generators of Python and numpy draw."""
        features, labels = batch
        stretched = 1 + 0.1 * random.random() + 0.1 * np.random.random()  # noqa: NPY002
        return functional.cross_entropy(self.model(features), labels) * stretched

    def validate(self) -> Mapping[str, float]:
        """The share of items that are told right."""
        right = self.model(self.features).argmax(dim=1) == self.labels
        return {"accuracy": right.double().mean().item()}


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two models are the same bit for bit."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
