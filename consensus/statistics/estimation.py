"""Ratings made ready for expectation-maximisation, and its outcome put back on the items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.errors import TooFewRatersError
from consensus.fused import (
    Fused,
    Method,
    RaterQuality,
    StartFit,
    check_min_raters,
    open_where_tied,
)
from consensus.ratings import NOT_RATED, Ratings
from consensus.statistics.expectation import Answers, Fit
from consensus.statistics.patterns import Patterns, compress

__all__ = ["Estimation"]

MIN_OVERLAP = 3
"""With two raters nothing tells which of them errs."""


@dataclass(frozen=True, eq=False)
class Estimation:
    """Ratings made ready for expectation-maximisation.

    Raters stand in the order of their names, patterns in that of their codes: sums are then
    the same to the last bit however the raters were listed. Classes that nobody used are
    left out, and come back with probability 0.
    """

    ratings: Ratings
    patterns: Patterns
    by_name: NDArray[np.int64]
    used: NDArray[np.int64]
    rated: NDArray[np.bool_]
    n_classes: int
    scale: float
    answers: Answers

    @classmethod
    def of(
        cls,
        ratings: Ratings,
        method: Method,
        codes: NDArray[np.int32] | None = None,
        n_classes: int | None = None,
    ) -> Estimation:
        """Make ready; ``codes`` of ``n_classes`` stand in for those of the ratings.

        Raises
        ------
        TooFewRatersError
            No item has three ratings.
        """
        codes = ratings.codes if codes is None else codes
        n_classes = len(ratings.classes) if n_classes is None else n_classes
        names = ratings.raters
        by_name = np.array(sorted(range(len(names)), key=names.__getitem__), dtype=np.int64)
        patterns = compress(codes[:, by_name], n_classes)
        weight = patterns.totals(ratings.weight)
        n_ratings = (patterns.codes != NOT_RATED).sum(axis=1)
        overlap = int(n_ratings[weight > 0].max(initial=0))
        if overlap < MIN_OVERLAP:
            raise TooFewRatersError(
                f"{method} needs three raters who overlap on items, and no item has more than "
                f"{overlap}; use majority, and adjudicate what it leaves open",
                method=method,
                overlap=overlap,
            )
        rated = (n_ratings > 0) & (weight > 0)
        used = np.unique(patterns.codes[rated])
        used = used[used != NOT_RATED].astype(np.int64)
        place = np.full(n_classes + 1, NOT_RATED, dtype=np.int32)  # the last is for -1
        place[used] = np.arange(len(used))
        total = float(weight[rated].sum())
        n_items = total
        if ratings.weight_unit != "count":
            n_items = float(_distinct_items(ratings, patterns, rated))
        scale = n_items / total
        answers = Answers.of(place[patterns.codes[rated]], weight[rated] * scale, len(used))
        return cls(ratings, patterns, by_name, used, rated, n_classes, scale, answers)

    @property
    def vote_frequency(self) -> NDArray[np.float64]:
        """Part of the raters' votes that each used class got, every item counted once."""
        weight = self.answers.weight
        frequency: NDArray[np.float64] = weight @ self.answers.shares / weight.sum()
        return frequency

    def of_patterns(self, fit: Fit) -> NDArray[np.float64]:
        """Class probabilities of all patterns; of those that nobody rated, the frequencies."""
        posterior = np.zeros((len(self.patterns.codes), self.n_classes))
        posterior[:, self.used] = fit.prevalence / fit.prevalence.sum()
        posterior[np.ix_(self.rated, self.used)] = fit.posterior
        return posterior

    def of_items(self, fit: Fit) -> NDArray[np.float64]:
        """The same of all items."""
        return self.of_patterns(fit)[self.patterns.of_item]

    def quality(self, fit: Fit) -> RaterQuality:
        """Confusions in the weight of the ratings, raters in their own order."""
        confusion = np.zeros((len(self.by_name), self.n_classes, self.n_classes))
        counts = fit.counts.transpose(0, 2, 1) / self.scale  # (R, K true, K said)
        confusion[np.ix_(self.by_name, self.used, self.used)] = counts
        return RaterQuality(confusion)

    def fused(
        self,
        method: Method,
        fit: Fit,
        starts: tuple[StartFit, ...],
        min_raters: int,
        told: Mapping[str, object],
        tolerance: float,
    ) -> Fused:
        """The consensus of a fit, with what the method was ``told``."""
        check_min_raters(min_raters)
        posterior = self.of_patterns(fit)
        n_ratings = (self.patterns.codes != NOT_RATED).sum(axis=1)
        labels = open_where_tied(posterior, n_ratings, min_raters)
        return Fused(
            method=method,
            items=self.ratings.items,
            raters=self.ratings.raters,
            classes=self.ratings.classes,
            posterior=posterior[self.patterns.of_item],
            labels=labels[self.patterns.of_item],
            quality=self.quality(fit),
            parameters={
                **told,
                "min_raters": min_raters,
                "tolerance": tolerance,
                "iterations": fit.iterations,
                "converged": fit.converged,
                "log_likelihood": fit.log_likelihood,
            },
            iterations=fit.iterations,
            converged=fit.converged,
            log_likelihood=fit.log_likelihood,
            notes=tuple(_notes(method, fit, starts)),
            starts=starts,
        )


def _notes(method: Method, fit: Fit, starts: tuple[StartFit, ...]) -> Iterator[str]:
    if not fit.converged:
        yield f"{method} stopped after {fit.iterations} iterations while the likelihood still rose"
    apart = [start.labels_changed for start in starts if start.labels_changed > 0]
    if apart:
        yield (
            f"{len(apart)} of {len(starts)} starts of {method} end at another consensus, "
            f"{max(apart):.1%} of the weight apart at most; the likeliest is kept"
        )


def _distinct_items(ratings: Ratings, patterns: Patterns, rated: NDArray[np.bool_]) -> int:
    """Items that areas stand for: distinct patterns on each slide, into however many faces cut."""
    place = ratings.slide
    if place is None and ratings.cluster_unit != "item":
        place = ratings.cluster
    if place is None:
        place = np.zeros(len(ratings.items), dtype=np.int64)
    weight = np.where(rated[patterns.of_item], ratings.weight, 0.0)
    return len(patterns.by_group(place, weight).weight)
