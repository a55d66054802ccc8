"""Predictions for items by models that have not seen them, nor anything else of their patient.

Shapes: n items, K classes.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingError
from models.noise.objectives import Objective
from models.noise.trainer import OutOfFold, Trainer

__all__ = ["N_FOLDS", "folds_of", "out_of_fold"]

M = TypeVar("M")

N_FOLDS = 5


def folds_of(group: NDArray[np.int64], n_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each item, (n,): whole groups, spread so that folds are of near size.

    Groups go, the largest first and those of one size in random order, to the smallest fold.

    Raises
    ------
    TrainingError
        Fewer groups than two, or fewer folds.
    """
    groups, of_item, sizes = np.unique(group, return_inverse=True, return_counts=True)
    n_folds = min(n_folds, len(groups))
    if n_folds < 2:
        raise TrainingError(
            f"cross-fitting needs two patients and two folds, and there are {len(groups)} patients; "
            "take the method soft or majority",
            patients=len(groups),
        )
    drawn = np.random.default_rng(seed).permutation(len(groups))
    order = drawn[np.argsort(-sizes[drawn], kind="stable")]
    filled = np.zeros(n_folds, dtype=np.int64)
    fold_of_group = np.empty(len(groups), dtype=np.int64)
    for one in order:
        fold_of_group[one] = filled.argmin()
        filled[fold_of_group[one]] += sizes[one]
    fold: NDArray[np.int64] = fold_of_group[of_item.reshape(-1)]
    return fold


def out_of_fold(
    trainer: Trainer[M],
    objective: Objective,
    items: NDArray[np.int64],
    group: NDArray[np.int64],
    *,
    n_folds: int,
    seed: int,
) -> OutOfFold:
    """Class probabilities of items, each by the model of the folds that lack it.

    Parameters
    ----------
    items : shape (n,)
        Numbers among all targets.
    group : shape (n,)
        Of these items.
    """
    fold = folds_of(group, n_folds, seed)
    probabilities = np.empty((len(items), objective.labels.shape[1]))
    n_used = int(fold.max()) + 1
    for one in range(n_used):
        held = fold == one
        model = trainer.fit(f"fold-{one + 1}-of-{n_used}", objective, items[~held])
        probabilities[held] = trainer.predict(model, items[held])
    return OutOfFold(items, probabilities, fold)
