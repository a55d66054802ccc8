"""Targets of simulated raters, and a trainer without a network; for tests only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.noise.objectives import Objective
from models.targets import OPEN, Targets

N_CLASSES, N_RATERS = 3, 4


def study(
    n: int = 60,
    seed: int = 0,
    *,
    accuracy: tuple[float, ...] = (0.9, 0.8, 0.75, 0.6),
    absent: int | None = None,
    patients: int | None = None,
) -> tuple[Targets, NDArray[np.int64]]:
    """Targets of the part ``train``, with vote shares as the posterior, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, N_CLASSES, n)
    right = rng.random((n, N_RATERS)) < np.array(accuracy)
    wrong = (truth[:, None] + rng.integers(1, N_CLASSES, (n, N_RATERS))) % N_CLASSES
    votes = np.where(right, truth[:, None], wrong)
    if absent is not None:
        votes[:, absent] = OPEN
    return targets_of(votes, group=np.arange(n) % (patients or n)), truth


def targets_of(votes: NDArray[np.int64], **given: Any) -> Targets:
    """Targets from votes; the consensus class is that of the largest share, the first of equals."""
    n, n_raters = votes.shape
    counts = (votes[:, :, None] == np.arange(N_CLASSES)).sum(axis=1)
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    fields: dict[str, Any] = {
        "posterior": shares.astype(np.float32),
        "hard": np.where(total[:, 0] > 0, shares.argmax(axis=1), OPEN),
        "votes": votes,
        "weight": np.ones(n, dtype=np.float32),
        "group": np.arange(n),
        "site": np.zeros(n, dtype=np.int64),
        "part": np.full(n, "train"),
        "classes": ("a", "b", "c"),
        "ordered": False,
        "raters": tuple(f"R{number}" for number in range(n_raters)),
    }
    return Targets(**{**fields, **given})


@dataclass
class Told:
    """A stage that was asked for."""

    stage: str
    objective: Objective
    items: NDArray[np.int64]


@dataclass
class Clerk:
    """A trainer that writes down what it is asked, and predicts what it was given.

    Attributes
    ----------
    predictions : shape (n, K)
        Of every item, whatever the model.
    """

    predictions: NDArray[np.float64]
    stages: list[Told] = field(default_factory=list)

    def fit(self, stage: str, objective: Objective, items: NDArray[np.int64]) -> int:
        self.stages.append(Told(stage, objective, items))
        return len(self.stages) - 1

    def predict(self, model: int, items: NDArray[np.int64]) -> NDArray[np.float64]:
        assert not set(items.tolist()) & set(self.stages[model].items.tolist()), "seen in training"
        return self.predictions[items]
