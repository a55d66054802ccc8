"""Ways to learn from several raters, by name; each is a function of targets and a trainer.

None sees the truth, and none chooses anything by it. The parameters are those published with the
method, or stand beside it with their reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from models.noise.em_net import em_net
from models.noise.folds import N_FOLDS, out_of_fold
from models.noise.objectives import (
    AnnotatorLayer,
    CrossEntropy,
    GeneralisedCrossEntropy,
    one_hot,
)
from models.noise.raters import estimate_raters
from models.noise.taking_part import decided_among, labelled_items, rated_items
from models.noise.trainer import FINAL, Learned, Trainer
from models.targets import Targets

__all__ = [
    "METHODS",
    "Method",
    "annotator_layer",
    "gce",
    "label_smoothing",
    "majority",
    "method_named",
    "ousm",
    "soft",
]

M = TypeVar("M")

TRACE_WEIGHT = 0.01
"""As in the experiments of Tanno et al. (2019)."""

Q = 0.7
"""As in the experiments of Zhang & Sabuncu (2018)."""

SMOOTHING = 0.1
"""As in Szegedy et al. (2016) and Lukasik et al. (2020)."""

DROPPED_SHARE = 0.1
"""Part of the items that OUSM leaves out: nothing published fits all studies, so a round number."""


class Method(Protocol):
    """Learns from targets by means of a trainer."""

    def __call__(
        self,
        targets: Targets,
        trainer: Trainer[M],
        *,
        seed: int = 0,
        n_folds: int | None = None,
    ) -> Learned[M]:
        """Train on the part ``train``.

        Parameters
        ----------
        seed
            Of the folds.
        n_folds
            Cross-fit over so many, and give the out-of-fold probabilities as well; None: only where
            the method does so by itself.
        """
        ...


def majority(
    targets: Targets, trainer: Trainer[M], *, seed: int = 0, n_folds: int | None = None
) -> Learned[M]:
    """Cross-entropy on the consensus class: what all others are held against."""
    items = labelled_items(targets)
    labels = one_hot(targets.hard, len(targets.classes))
    return _learned(targets, trainer, CrossEntropy(labels, targets.weight), items, seed, n_folds)


def soft(
    targets: Targets, trainer: Trainer[M], *, seed: int = 0, n_folds: int | None = None
) -> Learned[M]:
    """Cross-entropy on the posterior of the consensus.

    References
    ----------
    Peterson et al. (2019), arXiv:1908.07086.
    """
    items = labelled_items(targets, posterior=True)
    objective = CrossEntropy(targets.posterior, targets.weight)
    return _learned(targets, trainer, objective, items, seed, n_folds)


def label_smoothing(
    targets: Targets,
    trainer: Trainer[M],
    *,
    seed: int = 0,
    n_folds: int | None = None,
    smoothing: float = SMOOTHING,
) -> Learned[M]:
    """Cross-entropy on the consensus class, of which every class gets an equal small part.

    References
    ----------
    Szegedy et al. (2016), arXiv:1512.00567; under label noise Lukasik et al. (2020),
    arXiv:2003.02819.
    """
    if not 0 <= smoothing < 1:
        raise InputError(f"smoothing is {smoothing:g}; give a share from 0 to below 1")
    items = labelled_items(targets)
    n_classes = len(targets.classes)
    labels = (1 - smoothing) * one_hot(targets.hard, n_classes) + smoothing / n_classes
    objective = CrossEntropy(labels, targets.weight)
    return _learned(targets, trainer, objective, items, seed, n_folds, {"smoothing": smoothing})


def gce(
    targets: Targets,
    trainer: Trainer[M],
    *,
    seed: int = 0,
    n_folds: int | None = None,
    q: float = Q,
) -> Learned[M]:
    """Generalised cross-entropy on the consensus class: errors in labels pull less.

    References
    ----------
    Zhang & Sabuncu (2018), arXiv:1805.07836.
    """
    items = labelled_items(targets)
    labels = one_hot(targets.hard, len(targets.classes))
    objective = GeneralisedCrossEntropy(labels, targets.weight, q=q)
    return _learned(targets, trainer, objective, items, seed, n_folds, {"q": q})


def ousm(
    targets: Targets,
    trainer: Trainer[M],
    *,
    seed: int = 0,
    n_folds: int | None = None,
    share: float = DROPPED_SHARE,
) -> Learned[M]:
    """Cross-entropy on the consensus class without the items that out-of-fold models doubt most.

    The published method drops the largest losses of each batch while it trains. Here losses are
    out of fold, so that a model which has learnt a wrong label by heart cannot vouch for it.

    References
    ----------
    Xue et al. (2019), doi:10.1109/ISBI.2019.8759203.
    """
    if not 0 <= share < 1:
        raise InputError(f"share is {share:g}; give a part from 0 to below 1")
    n_folds = N_FOLDS if n_folds is None else n_folds
    items = labelled_items(targets)
    labels = one_hot(targets.hard, len(targets.classes))
    objective = CrossEntropy(labels, targets.weight)
    predicted = out_of_fold(
        trainer, objective, items, targets.group[items], n_folds=n_folds, seed=seed
    )
    believed = predicted.probabilities[np.arange(len(items)), targets.hard[items]]
    n_dropped = int(share * len(items))
    kept = np.sort(np.argsort(believed, kind="stable")[n_dropped:])
    told = {"share": share, "folds": n_folds, "dropped": n_dropped}
    kept = items[kept]
    model = trainer.fit(FINAL, objective, kept)
    return Learned(model, kept, labels[kept].astype(np.float64), told, predicted)


def annotator_layer(
    targets: Targets,
    trainer: Trainer[M],
    *,
    seed: int = 0,
    n_folds: int | None = None,
    trace_weight: float = TRACE_WEIGHT,
) -> Learned[M]:
    """Every rater's labels, through a confusion matrix of theirs that starts from Dawid-Skene.

    References
    ----------
    Tanno et al. (2019), arXiv:1902.03680; Rodrigues & Pereira (2018), arXiv:1709.01779.
    """
    items = rated_items(targets)
    raters = estimate_raters(targets, items)
    labels = np.zeros(targets.posterior.shape)
    labels[items] = raters.posterior
    objective = AnnotatorLayer(
        labels,
        targets.weight,
        votes=targets.votes,
        decided=decided_among(targets, np.arange(len(targets))),
        start=raters.confusion,
        trace_weight=trace_weight,
    )
    return _learned(
        targets, trainer, objective, items, seed, n_folds, {"trace_weight": trace_weight}
    )


def _learned(
    targets: Targets,
    trainer: Trainer[M],
    objective: CrossEntropy | GeneralisedCrossEntropy | AnnotatorLayer,
    items: NDArray[np.int64],
    seed: int,
    n_folds: int | None,
    told: Mapping[str, object] | None = None,
) -> Learned[M]:
    """What a single stage of training gives, with the same cross-fitted where that is asked for."""
    labels = objective.labels.numpy()[items].astype(np.float64)
    model = trainer.fit(FINAL, objective, items)
    predicted = None
    if n_folds is not None:
        predicted = out_of_fold(
            trainer, objective, items, targets.group[items], n_folds=n_folds, seed=seed
        )
    return Learned(model, items, labels, told or {}, predicted)


METHODS: Mapping[str, Method] = {
    "majority": majority,
    "soft": soft,
    "em-net": em_net,
    "annotator-layer": annotator_layer,
    "gce": gce,
    "label-smoothing": label_smoothing,
    "ousm": ousm,
}


def method_named(name: str) -> Method:
    """The method of this name.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in METHODS:
        raise InputError(f"method {name!r} is unknown; take one of {', '.join(METHODS)}")
    return METHODS[name]
