"""Figures after an epoch: quick ones, to choose the epoch by. What is published comes from `evaluate`.

Shapes: n items, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.targets import OPEN

__all__ = ["DIRECTIONS", "epoch_figures"]

DIRECTIONS = {"accuracy": "max", "balanced_accuracy": "max", "loss": "min", "nll": "min"}
"""The figures, and which way each is better; `loss` is that of the training, on other items."""

_LEAST = 1e-12


def epoch_figures(probabilities: NDArray[np.float64], hard: NDArray[np.int64]) -> dict[str, float]:
    """Accuracy, its mean over the classes that occur, and the mean negative log-likelihood.

    Parameters
    ----------
    probabilities : shape (n, K)
    hard : shape (n,)
        The class; -1 where it is open, and then the item does not count.
    """
    known = hard != OPEN
    if not known.any():
        return {}
    probabilities, hard = probabilities[known], hard[known]
    right = probabilities.argmax(axis=1) == hard
    believed = probabilities[np.arange(len(hard)), hard]
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[hard == c].mean() for c in np.unique(hard)])),
        "nll": float(-np.log(np.maximum(believed, _LEAST)).mean()),
    }
