"""What fusing ratings gives: a class and probabilities per item, and how good each rater was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.statistics.coefficients import quotient

__all__ = [
    "OPEN",
    "TIE",
    "Fused",
    "Method",
    "RaterQuality",
    "StartFit",
    "check_min_raters",
    "open_where_tied",
]

Method = Literal["majority", "dawid-skene", "staple"]

OPEN = -1
"""Label of an item that the method leaves open: a tie, or too few raters."""

TIE = 1e-9
"""Probabilities that differ by less are equal: sums in another order differ by rounding."""


NOTHING = 1e-9
"""Part of what a rater rated below which the consensus holds nothing: rounding of probabilities."""


@dataclass(frozen=True, eq=False)
class RaterQuality:
    """How each rater answered, by what the consensus holds to be true.

    Parameters
    ----------
    confusion : shape (n_raters, n_classes, n_classes)
        Weight of items by rater, consensus class and class said; behind the raters may stand
        an axis of replicates, which the figures then have as well.
    """

    confusion: NDArray[np.float64]

    @property
    def sensitivity(self) -> NDArray[np.float64]:
        """Part of a class that a rater called so, (n_raters, n_classes); NaN where none was."""
        hit = np.diagonal(self.confusion, axis1=-2, axis2=-1)
        return quotient(hit, self._unless_nothing(self.of_class))

    @property
    def specificity(self) -> NDArray[np.float64]:
        """Part of everything else that a rater did not call so; NaN where there was nothing."""
        wrong = self.confusion * (1 - np.eye(self.confusion.shape[-1]))
        called = quotient(wrong.sum(axis=-2), self._unless_nothing(self.of_others))
        specificity: NDArray[np.float64] = 1 - np.minimum(called, 1.0)
        return specificity

    def _unless_nothing(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        kept: NDArray[np.float64] = np.where(weight > NOTHING * self.rated[..., None], weight, 0.0)
        return kept

    @property
    def of_class(self) -> NDArray[np.float64]:
        """Weight that a sensitivity was taken over, (n_raters, n_classes)."""
        weight: NDArray[np.float64] = self.confusion.sum(axis=-1)
        return weight

    @property
    def of_others(self) -> NDArray[np.float64]:
        """Weight that a specificity was taken over, (n_raters, n_classes)."""
        weight: NDArray[np.float64] = self.of_class @ (1 - np.eye(self.confusion.shape[-1]))
        return weight

    @property
    def rated(self) -> NDArray[np.float64]:
        """Weight that each rater's figures were taken over, (n_raters,)."""
        total: NDArray[np.float64] = self.confusion.sum(axis=(-2, -1))
        return total


@dataclass(frozen=True)
class StartFit:
    """Where expectation-maximisation ended from one start.

    ``labels_changed`` is the part of the weight whose label differs from that of the fit that
    was kept.
    """

    log_likelihood: float
    log_posterior: float
    iterations: int
    converged: bool
    kept: bool
    labels_changed: float


@dataclass(frozen=True, eq=False)
class Fused:
    """A consensus.

    Parameters
    ----------
    items, raters, classes
        Names, as in the ratings.
    posterior : shape (n_items, n_classes)
        Probability of each class; rows sum to 1. Of the majority, vote shares.
    labels : shape (n_items,)
        Class index, or -1 where the item is open.
    quality
        Of the raters, against this consensus, to which they contributed themselves.
    parameters
        What the method was told, and for expectation-maximisation how it ended.
    iterations, converged, log_likelihood
        Of expectation-maximisation, else None.
    starts
        Of expectation-maximisation: every start that was tried, that from vote shares first.
    """

    method: Method
    items: tuple[str, ...]
    raters: tuple[str, ...]
    classes: tuple[str, ...]
    posterior: NDArray[np.float64]
    labels: NDArray[np.int64]
    quality: RaterQuality
    parameters: Mapping[str, object]
    iterations: int | None = None
    converged: bool | None = None
    log_likelihood: float | None = None
    notes: tuple[str, ...] = field(default=())
    starts: tuple[StartFit, ...] = ()

    @property
    def truth(self) -> NDArray[np.float64]:
        """What raters are measured against, (n_items, n_classes).

        Of expectation-maximisation the posterior; of the majority its label, and nothing where
        the item is open.
        """
        if self.starts:
            return self.posterior
        told: NDArray[np.float64] = (self.labels[:, None] == np.arange(len(self.classes))).astype(
            np.float64
        )
        return told

    @property
    def convergence(self) -> dict[str, object] | None:
        """How expectation-maximisation ended, as in the JSON document; None of the majority."""
        if not self.starts:
            return None
        return {
            "iterations": self.iterations,
            "converged": self.converged,
            "log_likelihood": self.log_likelihood,
            "starts": [asdict(start) for start in self.starts],
            "starts_agree": all(start.labels_changed == 0 for start in self.starts),
        }

    def sensitivity(self, rater: int) -> dict[str, float | None]:
        """Sensitivity of a rater by class; None where the consensus has none of it."""
        return self._by_class(self.quality.sensitivity[rater])

    def specificity(self, rater: int) -> dict[str, float | None]:
        """Specificity of a rater by class; None where the consensus has nothing else."""
        return self._by_class(self.quality.specificity[rater])

    def _by_class(self, values: NDArray[np.float64]) -> dict[str, float | None]:
        return {
            name: None if np.isnan(value) else float(value)
            for name, value in zip(self.classes, values, strict=True)
        }


def open_where_tied(
    posterior: NDArray[np.float64], n_ratings: NDArray[np.int64], min_raters: int
) -> NDArray[np.int64]:
    """Most probable class; open where two are equally so, or too few raters said anything.

    Parameters
    ----------
    posterior : shape (n, n_classes)
    n_ratings : shape (n,)
    """
    labels: NDArray[np.int64] = posterior.argmax(axis=1).astype(np.int64)
    if posterior.shape[1] > 1:
        best = np.partition(posterior, -2, axis=1)[:, -2:]
        labels[best[:, 1] - best[:, 0] <= TIE] = OPEN
    labels[(n_ratings < min_raters) | (n_ratings == 0)] = OPEN
    return labels


def check_min_raters(min_raters: int) -> None:
    """Refuse a least number of raters below one."""
    if min_raters < 1:
        raise InputError(f"min_raters {min_raters} is below 1; give a whole number from 1 on")
