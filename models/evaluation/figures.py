"""The figures of a model's probabilities: of all classes, of each class, of each site.

Shapes: n items, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError
from consensus.statistics.coefficients import quotient
from consensus.statistics.reasons import SINGLE_CLASS
from consensus.statistics.statistic import Statistic
from models.evaluation.draws import Evaluate, Figure, PatientDraws
from models.evaluation.sums import ClassTables, area_under_roc, weighted_mean
from models.targets import OPEN, Targets

__all__ = [
    "NO_ITEMS",
    "Method",
    "Scored",
    "class_figures",
    "overall_figures",
    "scored",
    "site_figures",
    "table_figures",
]

NO_ITEMS = "no items with a class"
ONE_SIDED = "the reference has only one side of it"

_SMALLEST = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True, eq=False)
class Method:
    """How figures are computed.

    Attributes
    ----------
    disagreement : shape (K, K)
        Weights of kappa; see :func:`consensus.statistics.weights.disagreement_weights`.
    weights
        What the weights are called.
    bootstrap, seed
        Replicates over patients.
    """

    disagreement: NDArray[np.float64]
    weights: str
    bootstrap: int = 1000
    seed: int = 0

    def draws(self, group: NDArray[np.int64]) -> PatientDraws:
        """The patients of items, drawn."""
        return PatientDraws.of(group, replicates=self.bootstrap, seed=self.seed)


@dataclass(frozen=True, eq=False)
class Scored:
    """Probabilities beside the class of a reference; no item is open, and each has a weight.

    Attributes
    ----------
    probabilities : shape (n, K)
    reference : shape (n,)
    targets
        Of these items.
    numbers : shape (n,)
        Of these items, among those that were given.
    pixels : shape (n,)
        Of masks: how many pixels each item stands for; else None, and each stands for itself.
    """

    probabilities: NDArray[np.float64]
    reference: NDArray[np.int64]
    targets: Targets
    numbers: NDArray[np.int64]
    pixels: NDArray[np.int64] | None = None

    @property
    def said(self) -> NDArray[np.int64]:
        """The most probable class of each item, (n,)."""
        most: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return most

    @property
    def weight(self) -> NDArray[np.float64]:
        """How much each item counts, (n,)."""
        return self.targets.weight.astype(np.float64)

    @property
    def log_loss(self) -> NDArray[np.float64]:
        """Negative log-probability of the reference's class, (n,); finite."""
        of_class = self.probabilities[np.arange(len(self.reference)), self.reference]
        return -np.log(np.maximum(of_class, _SMALLEST))

    @property
    def brier(self) -> NDArray[np.float64]:
        """Squared distance between probabilities and the reference's class, (n,), 0 to 2."""
        apart = self.probabilities - np.eye(self.probabilities.shape[1])[self.reference]
        distance: NDArray[np.float64] = (apart**2).sum(axis=1)
        return distance

    def of(self, items: NDArray[np.int64]) -> Scored:
        """Some of the items, by their numbers."""
        return Scored(
            self.probabilities[items],
            self.reference[items],
            self.targets.subset(items),
            self.numbers[items],
            None if self.pixels is None else self.pixels[items],
        )

    def count(self, items: NDArray[np.bool_] | None = None) -> int:
        """How many of the items (n,) there are; None: how many in all."""
        chosen = np.ones(len(self.reference), np.bool_) if items is None else items
        return int(chosen.sum() if self.pixels is None else self.pixels[chosen].sum())

    def at_site(self, site: int) -> Scored:
        """The items of a site."""
        return self.of(np.flatnonzero(self.targets.site == site))

    def predicted_by(self, probabilities: NDArray[np.float64]) -> Scored:
        """The same items with other probabilities."""
        return replace(self, probabilities=probabilities)


def scored(
    probabilities: NDArray[np.float64],
    targets: Targets,
    reference: NDArray[np.int64] | None = None,
    pixels: NDArray[np.int64] | None = None,
) -> Scored:
    """The items that count and have a class.

    Parameters
    ----------
    probabilities : shape (n, K)
        Of the targets' items.
    reference : shape (n,)
        Class of each item, or -1; None: the consensus.
    pixels : shape (n,)
        See `Scored`.

    Raises
    ------
    InputError
        Probabilities of another number of items or classes, or that are none.
    """
    wanted = (len(targets), len(targets.classes))
    if probabilities.shape != wanted:
        raise InputError(
            f"probabilities are of shape {probabilities.shape} for {wanted[0]} items and "
            f"{wanted[1]} classes; give {wanted}"
        )
    shares = np.isfinite(probabilities) & (probabilities >= 0)
    total = np.where(shares, probabilities, np.inf).sum(axis=1)
    fit = np.abs(total - 1) <= 1e-4
    if not fit.all():
        raise InputError(
            f"the probabilities of item {targets.name_of(int(np.argmin(fit)))} are no distribution; "
            "the model is broken: train it again"
        )
    classes = targets.hard if reference is None else reference
    counted = np.flatnonzero((classes != OPEN) & (targets.weight > 0))
    return Scored(
        probabilities[counted],
        classes[counted],
        targets.subset(counted),
        counted,
        None if pixels is None else pixels[counted],
    )


def table_figures(
    of: Scored, said: NDArray[np.int64], method: Method, draws: PatientDraws
) -> dict[str, Figure]:
    """Figures that need classes only, and so fit a model as well as an expert."""
    n_classes = of.probabilities.shape[1]
    tables = ClassTables(of.reference, said, of.weight, draws, n_classes)
    return {
        "accuracy": Figure(tables.accuracy, NO_ITEMS),
        "balanced_accuracy": Figure(tables.balanced_accuracy, NO_ITEMS),
        "kappa": Figure(tables.kappa(method.disagreement), SINGLE_CLASS),
    }


def overall_figures(
    of: Scored, method: Method, draws: PatientDraws, calls: Scored | None = None
) -> dict[str, Figure]:
    """Figures over all classes.

    Parameters
    ----------
    calls
        Of masks what is called what, where ``of`` is a sample of it; of the same patients.
    """
    return {
        **_called(of, method, draws, calls),
        "auroc_macro": Figure(_macro(of, draws), SINGLE_CLASS),
        "nll": Figure(weighted_mean(of.log_loss, of.weight, draws), NO_ITEMS),
        "brier": Figure(weighted_mean(of.brier, of.weight, draws), NO_ITEMS),
    }


def class_figures(
    of: Scored, method: Method, calls: Scored | None = None
) -> dict[str, dict[str, object]]:
    """Figures of each class against all others, with the items and patients that have it.

    Parameters
    ----------
    calls
        See `overall_figures`.
    """
    calls = of if calls is None else calls
    draws, draws_of_sample = (method.draws(one.targets.group) for one in (calls, of))
    said, classes = calls.said, calls.targets.classes
    tables = ClassTables(calls.reference, said, calls.weight, draws, len(classes))
    document: dict[str, dict[str, object]] = {}
    for number, name in enumerate(classes):
        has, called = calls.reference == number, said == number
        patients, either = draws.count(has), draws.count(has | called)
        ranked = area_under_roc(
            of.probabilities[:, number], of.reference == number, of.weight, draws_of_sample
        )
        never = "the reference never says it"
        figures = {
            "auroc": Figure(ranked, ONE_SIDED, patients),
            "sensitivity": Figure(_column(tables.sensitivity, number), never, patients),
            "specificity": Figure(
                _column(tables.specificity, number),
                "the reference says nothing else",
                draws.count(~has),
            ),
            "precision": Figure(
                _column(tables.precision, number), "the model never says it", draws.count(called)
            ),
            "f1": Figure(_column(tables.f1, number), "neither says it", either),
        }
        document[name] = {
            "items": calls.count(has),
            "weight": float(calls.weight[has].sum()),
            "patients": patients,
            **_plain(draws.statistics(figures)),
        }
    return document


def site_figures(
    of: Scored, method: Method, calls: Scored | None = None
) -> dict[str, dict[str, object]]:
    """Overall figures of each site by itself.

    Parameters
    ----------
    calls
        See `overall_figures`.
    """
    document: dict[str, dict[str, object]] = {}
    for site in np.unique(of.targets.site).tolist():
        own = of.at_site(site)
        called = None if calls is None else calls.at_site(site)
        draws = method.draws(own.targets.group)
        document[of.targets.site_name(site)] = {
            "items": (called or own).count(),
            "patients": draws.n_patients,
            **_plain(draws.statistics(overall_figures(own, method, draws, called))),
        }
    return document


def _called(
    of: Scored, method: Method, draws: PatientDraws, calls: Scored | None
) -> dict[str, Figure]:
    if calls is None:
        return table_figures(of, of.said, method, draws)
    return table_figures(calls, calls.said, method, method.draws(calls.targets.group))


def _macro(of: Scored, draws: PatientDraws) -> Evaluate:
    """Mean area over the classes that the reference has, each against all others."""
    areas = [
        area_under_roc(of.probabilities[:, number], of.reference == number, of.weight, draws)
        for number in np.unique(of.reference).tolist()
    ]

    def evaluate(often: NDArray[np.float64]) -> NDArray[np.float64]:
        if not areas:
            return np.full(len(often), np.nan)
        total = np.sum([area(often) for area in areas], axis=0)
        return quotient(total, np.full(len(often), float(len(areas))))

    return evaluate


def _column(
    of_classes: Callable[[NDArray[np.float64]], NDArray[np.float64]], number: int
) -> Evaluate:
    return lambda often: of_classes(often)[:, number]


def _plain(statistics: dict[str, Statistic]) -> dict[str, object]:
    return {name: one.to_dict() for name, one in statistics.items()}
