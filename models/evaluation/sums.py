"""The sums over patients that figures are made of: tables of classes, ordered pairs, losses.

Shapes: n items, C patients, B replicates, K classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.coefficients import quotient
from models.evaluation.draws import Evaluate, PatientDraws

__all__ = ["ClassTables", "area_under_roc", "weighted_mean"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class ClassTables:
    """How much of each class was called what, patient by patient.

    Parameters
    ----------
    reference, said : shape (n,)
        Class of each item, and what it was called; none is open.
    weight : shape (n,)
    """

    def __init__(
        self, reference: Ints, said: Ints, weight: Floats, draws: PatientDraws, n_classes: int
    ) -> None:
        self.n_classes = n_classes
        cell = (draws.patient * n_classes + reference) * n_classes + said
        cells = draws.n_patients * n_classes**2
        self._sums = np.bincount(cell, weights=weight, minlength=cells).reshape(
            draws.n_patients, n_classes**2
        )

    def __call__(self, often: Floats) -> Floats:
        """Tables (B, K, K), the reference in rows."""
        return (often @ self._sums).reshape(len(often), self.n_classes, self.n_classes)

    def accuracy(self, often: Floats) -> Floats:
        """Part that is called what it is, (B,)."""
        table = self(often)
        return quotient(np.trace(table, axis1=1, axis2=2), table.sum(axis=(1, 2)))

    def sensitivity(self, often: Floats) -> Floats:
        """Part of each class that is called it, (B, K)."""
        table = self(often)
        return quotient(_hits(table), table.sum(axis=2))

    def specificity(self, often: Floats) -> Floats:
        """Part of everything else that isn't called the class, (B, K)."""
        table = self(often)
        rows = table.sum(axis=2)
        others = rows @ (1 - np.eye(self.n_classes))
        alarms = table.sum(axis=1) - _hits(table)
        return 1 - quotient(np.minimum(alarms, others), others)

    def precision(self, often: Floats) -> Floats:
        """Part of what is called the class that is it, (B, K)."""
        table = self(often)
        return quotient(_hits(table), table.sum(axis=1))

    def f1(self, often: Floats) -> Floats:
        """Dice of what is the class and what is called it, (B, K)."""
        table = self(often)
        return quotient(2 * _hits(table), table.sum(axis=1) + table.sum(axis=2))

    def balanced_accuracy(self, often: Floats) -> Floats:
        """Mean sensitivity over the classes that the reference has, (B,).

        A replicate without one of them has no value: another mean would be another figure.
        """
        held = self(np.ones((1, len(self._sums))))[0].sum(axis=1) > 0
        if not held.any():
            return np.full(len(often), np.nan)
        mean: Floats = self.sensitivity(often)[:, held].mean(axis=1)
        return mean

    def kappa(self, disagreement: Floats) -> Evaluate:
        """Cohen's weighted kappa.

        Parameters
        ----------
        disagreement : shape (K, K)
            Of every two classes, 0 on the diagonal.
        """

        def evaluate(often: Floats) -> Floats:
            table = self(often)
            rows, columns = table.sum(axis=2), table.sum(axis=1)
            expected = ((rows @ disagreement) * columns).sum(axis=1)
            observed = (table * disagreement).sum(axis=(1, 2)) * rows.sum(axis=1)
            return 1 - quotient(observed, expected)

        return evaluate


def _hits(table: Floats) -> Floats:
    return np.diagonal(table, axis1=1, axis2=2)


def area_under_roc(
    score: Floats, positive: NDArray[np.bool_], weight: Floats, draws: PatientDraws
) -> Evaluate:
    """Chance that a positive item scores above a negative one, ties counting half.

    Pairs are counted for every two patients, so that a replicate costs one matrix product.

    Parameters
    ----------
    score, positive, weight : shape (n,)

    References
    ----------
    Hanley & McNeil (1982), doi:10.1148/radiology.143.1.7063747.
    """
    n = draws.n_patients
    pairs = np.zeros((n, n))  # positives of the row's patient, negatives of the column's
    high, high_of, high_weight = score[positive], draws.patient[positive], weight[positive]
    low, low_of, low_weight = score[~positive], draws.patient[~positive], weight[~positive]
    for other in np.unique(low_of):
        own = low_of == other
        order = np.argsort(low[own], kind="stable")
        ranked = low[own][order]
        passed = np.append(0.0, np.cumsum(low_weight[own][order]))
        below = passed[np.searchsorted(ranked, high, side="left")]
        with_ties = passed[np.searchsorted(ranked, high, side="right")]
        won = high_weight * (below + with_ties) / 2
        pairs[:, other] = np.bincount(high_of, weights=won, minlength=n)
    positives = np.bincount(high_of, weights=high_weight, minlength=n)
    negatives = np.bincount(low_of, weights=low_weight, minlength=n)

    def evaluate(often: Floats) -> Floats:
        won = ((often @ pairs) * often).sum(axis=1)
        return quotient(won, (often @ positives) * (often @ negatives))

    return evaluate


def weighted_mean(values: Floats, weight: Floats, draws: PatientDraws) -> Evaluate:
    """Mean of values (n,) over items by their weight (n,)."""
    total, amount = draws.sums(values * weight), draws.sums(weight)

    def evaluate(often: Floats) -> Floats:
        return quotient(often @ total, often @ amount)

    return evaluate
