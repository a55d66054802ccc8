"""EM-net: one round of expectation-maximisation in which a classifier is the prior of the raters.

Dawid-Skene knows of an item only what raters said. A classifier that learns from the posterior
knows what the item looks like; predicting items it has not seen, it tells where raters who err
together are wrong, which their votes cannot.

1. Dawid-Skene on the votes gives a posterior and each rater's confusions.
2. Classifiers on that posterior, cross-fitted over patients, give each item probabilities by a
   model that has not seen it.
3. With these as its prior the raters' model is fitted again: a new posterior.
4. The final model learns from that.

References
----------
Raykar et al. (2010), JMLR 11:1297; Albarqouni et al. (2016), doi:10.1109/TMI.2016.2528120;
Khetan, Lipton & Anandkumar (2018), arXiv:1712.04577 (one round suffices). Cross-fitting:
Chernozhukov et al. (2018), doi:10.1111/ectj.12097.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.noise.folds import N_FOLDS, out_of_fold
from models.noise.objectives import CrossEntropy
from models.noise.raters import estimate_raters, refine
from models.noise.taking_part import rated_items
from models.noise.trainer import FINAL, Learned, Trainer
from models.targets import Targets

__all__ = ["em_net"]

M = TypeVar("M")


def em_net(
    targets: Targets, trainer: Trainer[M], *, seed: int = 0, n_folds: int | None = None
) -> Learned[M]:
    """Cross-entropy on a posterior to which raters and an out-of-fold classifier contributed.

    Raises
    ------
    TooFewRatersError
        No item has three raters.
    TrainingError
        Fewer than two patients.
    """
    n_folds = N_FOLDS if n_folds is None else n_folds
    items = rated_items(targets)
    start = estimate_raters(targets, items)
    predicted = out_of_fold(
        trainer,
        _objective(targets, items, start.posterior),
        items,
        targets.group[items],
        n_folds=n_folds,
        seed=seed,
    )
    refined = refine(targets.votes[items], predicted.probabilities, start)
    model = trainer.fit(FINAL, _objective(targets, items, refined.posterior), items)
    changed = start.posterior.argmax(axis=1) != refined.posterior.argmax(axis=1)
    told = {
        "folds": n_folds,
        "temperature": refined.temperature,
        "labels_changed": float(changed.mean()),
        "confusion": dict(zip(targets.raters, refined.confusion.tolist(), strict=True)),
    }
    return Learned(model, items, refined.posterior, told, predicted)


def _objective(
    targets: Targets, items: NDArray[np.int64], posterior: NDArray[np.float64]
) -> CrossEntropy:
    labels = np.zeros(targets.posterior.shape)
    labels[items] = posterior
    return CrossEntropy(labels, targets.weight)
