"""How raters err, counted over the pixels of masks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from models.labels.masks import TileMask
from models.targets import OPEN

__all__ = ["confusions_of"]

_PSEUDO_SHARE = 1e-3


def confusions_of(masks: Iterable[TileMask]) -> NDArray[np.float64]:
    """Confusions (R, K, K) by true class and class said; rows sum to 1, all above 0.

    What is true is the posterior of the consensus. Where that comes from Dawid-Skene or STAPLE,
    these are the confusions of its last step. A class that a rater never met is taken as read
    rightly; a thousandth of each class's pixels is added to every answer, so that none is impossible.
    """
    total = None
    for mask in masks:
        raters, (n_classes, *_) = len(mask.votes), mask.posterior.shape
        if total is None:
            total = np.zeros((raters, n_classes, n_classes))
        weighed = mask.posterior * mask.labelled
        for rater, votes in enumerate(mask.votes):
            rated = votes != OPEN
            for said in np.unique(votes[rated]).tolist():
                total[rater, :, said] += weighed[:, votes == said].sum(axis=1)
    if total is None:
        raise ValueError("no masks, so no raters")
    met = total.sum(axis=2, keepdims=True)
    n_classes = total.shape[1]
    shares = np.divide(total, met, out=np.zeros_like(total), where=met > 0)
    shares += np.where(met > 0, 0, np.eye(n_classes))
    shares += _PSEUDO_SHARE
    return np.asarray(shares / shares.sum(axis=2, keepdims=True))
