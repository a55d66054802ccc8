"""Which items a method learns from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingError
from models.targets import OPEN, Targets

__all__ = ["TRAIN", "decided_among", "labelled_items", "rated_items"]

TRAIN = "train"
"""The part of a split that models learn from."""


def labelled_items(targets: Targets, *, posterior: bool = False) -> NDArray[np.int64]:
    """Numbers of the training items that count and have a class, or a posterior.

    Raises
    ------
    TrainingError
        There is none, or all are of one class.
    """
    known = targets.posterior.sum(axis=1) > 0 if posterior else targets.hard != OPEN
    items = _counted(targets, known, "has a class")
    classes = np.unique(
        targets.posterior[items].argmax(axis=1) if posterior else targets.hard[items]
    )
    if len(classes) < 2:
        raise TrainingError(
            f"all training items are of class {targets.classes[classes[0]]!r}; there is nothing to "
            "learn: add slides of another class to the part train",
            classes=len(classes),
        )
    return items


def rated_items(targets: Targets) -> NDArray[np.int64]:
    """Numbers of the training items that count and that somebody has rated or decided.

    Raises
    ------
    TrainingError
        There is none.
    """
    everything = np.arange(len(targets))
    rated = (targets.votes != OPEN).any(axis=1) | decided_among(targets, everything)
    return _counted(targets, rated, "was rated")


def decided_among(targets: Targets, items: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of these items an adjudicator gave a class, (n,)."""
    if targets.decided is None:
        return np.zeros(len(items), dtype=np.bool_)
    decided: NDArray[np.bool_] = targets.decided[items] & (targets.hard[items] != OPEN)
    return decided


def _counted(targets: Targets, known: NDArray[np.bool_], what: str) -> NDArray[np.int64]:
    items = np.flatnonzero(known & (targets.part == TRAIN) & (targets.weight > 0))
    if not len(items):
        raise TrainingError(
            f"no item of the part {TRAIN} {what}; release a run with decided items, and give the "
            "part patients"
        )
    return items
