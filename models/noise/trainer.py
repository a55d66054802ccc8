"""Who trains for a method: it says what to minimise on which items, and asks for predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.noise.objectives import Objective

__all__ = ["FINAL", "Learned", "OutOfFold", "Trainer"]

M = TypeVar("M")

FINAL = "final"
"""The stage whose model a method returns."""


class Trainer(Protocol[M]):
    """Trains models of one architecture under one set of training settings.

    Items are numbered as the targets are.
    """

    def fit(self, stage: str, objective: Objective, items: NDArray[np.int64]) -> M:
        """A model trained from the start on these items.

        Parameters
        ----------
        stage
            Its name within the run. A run that was killed gives back what it had finished, so that
            one stage must mean the same each time.
        """
        ...

    def predict(self, model: M, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """Class probabilities of items, shape (n, K)."""
        ...


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """What models say of items whose patients they have not seen.

    Attributes
    ----------
    items : shape (n,)
        Among the targets.
    probabilities : shape (n, K)
    folds : shape (n,)
        That each item belongs to, from 0; its model has learnt from all others.
    """

    items: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    folds: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Learned(Generic[M]):
    """What a method gives.

    Attributes
    ----------
    model
        The one to use.
    items : shape (n,)
        The items that it was trained on, among the targets.
    labels : shape (n, K)
        What was held to be true of them in the end.
    told
        The method's parameters, and what it found, for the model card.
    out_of_fold
        None where the method needs nothing of the kind and nobody asked for it.
    """

    model: M
    items: NDArray[np.int64]
    labels: NDArray[np.float64]
    told: Mapping[str, object] = field(default_factory=dict)
    out_of_fold: OutOfFold | None = None
