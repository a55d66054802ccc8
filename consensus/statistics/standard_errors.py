"""Analytic standard errors for items that are counts and independent of each other.

Every estimator is linearised: its error is that of a mean of one number per item.

- ``percent``, ``conger``, ``fleiss``, ``krippendorff``, ``gwet`` and ``brennan_prediger``: as
  irrCAC's functions for raw ratings, dividing by ``n (n - 1)``. Its functions for contingency
  tables divide by ``n * n`` instead, and those for distributions have another formula for
  alpha; ratings are raw here whatever table they came from, so that one study has one answer.
- Kappas over pairs of raters: Fleiss, Cohen & Everitt (1969), doi:10.1037/h0028106, which is
  what irrCAC prints for Cohen's kappa; over several pairs, the mean of their linear terms.
- Proportions (``dice``, F1, ``prevalence``, the prevalence index) and the bias index: as a ratio
  of two means.

Shapes: U patterns, R raters, P pairs, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import NOT_RATED
from consensus.statistics.coefficients import PairTables, agreement_total, quotient
from consensus.statistics.totals import Totals

__all__ = [
    "ANALYTIC",
    "LINEARISED",
    "LINEARISED_GIVEN",
    "Sample",
    "bias_errors",
    "class_fleiss_errors",
    "coefficient_errors",
    "pair_errors",
    "pair_f1_errors",
    "prevalence_index_errors",
    "ratio_error",
]

ANALYTIC = "analytic (irrCAC, raw ratings)"
LINEARISED = "analytic (Fleiss, Cohen & Everitt 1969)"
LINEARISED_GIVEN = "analytic (linearised; Bishop, Fienberg & Holland 1975)"


@dataclass(frozen=True, eq=False)
class Sample:
    """Distinct items and how often each occurred.

    Parameters
    ----------
    codes : shape (U, R)
        Label patterns.
    times : shape (U,)
        Items that show each pattern.
    placed : shape (U, K)
        Raters who gave each class, as far as chance-corrected figures are about them.
    features : shape (U, item_width)
        From :func:`consensus.statistics.totals.item_features`.
    totals
        One row: the sums over all items.
    """

    codes: NDArray[np.int32]
    times: NDArray[np.float64]
    placed: NDArray[np.float64]
    features: NDArray[np.float64]
    totals: Totals

    def feature(self, name: str) -> NDArray[np.float64]:
        """One kind of feature, shape (U,) or (U, K)."""
        part = self.features[:, self.totals.scheme.slices[name]]
        return part if self.totals.scheme.shapes[name] else part[:, 0]


def _error_of_mean(terms: NDArray[np.float64], times: NDArray[np.float64], at: float) -> float:
    """Standard error of a mean, as irrCAC computes it."""
    n = float(times.sum())
    return float(np.sqrt((times * (terms - at) ** 2).sum() / (n * (n - 1)))) if n > 1 else np.nan


def coefficient_errors(sample: Sample, values: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Standard error and number of items of each coefficient that irrCAC knows.

    Parameters
    ----------
    values
        The coefficients themselves; those that are NaN get no error.
    """
    scheme, totals = sample.totals.scheme, sample.totals
    placed, ratings = sample.placed, sample.placed.sum(axis=1)
    kept = ratings > 0
    times, ratings, placed = sample.times[kept], ratings[kept], placed[kept]
    paired = sample.feature("items_paired")[kept]
    n = float(times.sum())
    n_paired = float((times * paired).sum())
    if n_paired == 0:
        return {}
    agree = paired - sample.feature("disagree")[kept]  # 0 for single ratings
    similarity = (1 - scheme.disagreement) * np.outer(scheme.places, scheme.places)
    n_classes = int(scheme.places.sum())
    share = (totals["share"] / totals["items_rated"])[0]
    total = agreement_total(scheme)
    own_share = placed / ratings[:, None]
    errors: dict[str, tuple[float, float]] = {}

    def record(name: str, chance: float, chance_terms: NDArray[np.float64] | float) -> None:
        value = values[name]
        if np.isnan(value) or chance >= 1:
            return
        terms = (n / n_paired) * (agree - chance * paired) / (1 - chance)
        terms = terms - 2 * (1 - value) * (chance_terms - chance) / (1 - chance)
        errors[name] = (_error_of_mean(terms, times, value), n)

    record("percent", 0.0, 0.0)
    record("brennan_prediger", total / n_classes**2, total / n_classes**2)
    if n_classes > 1:
        scale = total / (n_classes * (n_classes - 1))
        spread = float((share * (1 - share)).sum())
        record("gwet", scale * spread, scale * (own_share @ ((1 - share) * scheme.places)))
    record("fleiss", float(share @ similarity @ share), own_share @ (similarity @ share))
    conger_chance, conger_terms = _conger_chance(sample, similarity)
    record("conger", conger_chance, conger_terms[kept])
    if not np.isnan(values["krippendorff"]):
        errors["krippendorff"] = _alpha_error(sample, similarity)
    return errors


def class_fleiss_errors(sample: Sample, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard errors of Fleiss' kappa of each class against the rest, shape (K,)."""
    totals = sample.totals
    ratings = sample.placed.sum(axis=1)
    kept = ratings > 0
    times, own = sample.times[kept], sample.placed[kept] / ratings[kept][:, None]
    paired = sample.feature("items_paired")[kept][:, None]
    n, n_paired = float(times.sum()), float((times * paired[:, 0]).sum())
    errors = np.full(len(values), np.nan)
    if n_paired == 0 or n <= 1:
        return errors
    share = (totals["share"] / totals["items_rated"])[0]
    chance = share**2 + (1 - share) ** 2
    agree = paired - sample.feature("disagree_class")[kept]
    chance_terms = own * share + (1 - own) * (1 - share)
    for c in np.flatnonzero(~np.isnan(values)):
        terms = (n / n_paired) * (agree[:, c] - chance[c] * paired[:, 0]) / (1 - chance[c])
        terms -= 2 * (1 - values[c]) * (chance_terms[:, c] - chance[c]) / (1 - chance[c])
        errors[c] = _error_of_mean(terms, times, values[c])
    return errors


def _conger_chance(
    sample: Sample, similarity: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """Conger's chance agreement, and what each pattern contributes to it, shape (U,)."""
    scheme = sample.totals.scheme
    said = sample.totals["said"][0]
    raters = np.flatnonzero(said.sum(axis=1) > 0)
    n_raters = len(raters)
    terms = np.zeros(len(sample.codes))
    if n_raters < 2:
        return np.nan, terms
    ratings = said[raters].sum(axis=1)
    margins = said[raters] / ratings[:, None]
    n = float(sample.totals["items_rated"][0])
    others = margins.sum(axis=0) - margins  # what the other raters said, (R, K)
    compared = sample.placed.sum(axis=1) > 0
    towards = others @ similarity  # agreement of each class with the others
    for index, rater in enumerate(raters):
        codes = sample.codes[:, rater]
        rated = np.append(scheme.places, False)[codes] & compared
        expected = float(towards[index] @ margins[index])
        got = np.where(rated, towards[index][codes], 0.0)
        terms += (n / ratings[index]) * (got - (rated - ratings[index] / n) * expected)
    chance = float((towards * margins).sum())
    n_pairs = n_raters * (n_raters - 1)
    return chance / n_pairs, terms / n_pairs


def _alpha_error(sample: Sample, similarity: NDArray[np.float64]) -> tuple[float, float]:
    """Standard error of Krippendorff's alpha, over items with at least two ratings."""
    paired = sample.feature("items_paired") > 0
    times, placed = sample.times[paired], sample.placed[paired]
    n = float(times.sum())
    ratings = placed.sum(axis=1)
    mean_ratings = float((times * ratings).sum()) / n
    pair_agree = (placed * (placed @ similarity - 1)).sum(axis=1) / (mean_ratings * (ratings - 1))
    agree = float((times * pair_agree).sum()) / n
    rest = 1 / float((times * ratings).sum())
    agree_small = (1 - rest) * agree + rest
    share = (times @ placed) / (n * mean_ratings)
    chance = float(share @ similarity @ share)
    value = (agree - chance) / (1 - chance)
    surplus = (ratings - mean_ratings) / mean_ratings
    terms = (pair_agree - agree_small * surplus - chance) / (1 - chance)
    chance_terms = placed @ (similarity @ share) / mean_ratings - chance * surplus
    terms = terms - 2 * (1 - value) * (chance_terms - chance) / (1 - chance)
    return _error_of_mean(terms, times, value), n


def pair_errors(sample: Sample, pairs: PairTables) -> dict[str, NDArray[np.float64]]:
    """Standard errors of the kappas that come from tables of pairs.

    Returns
    -------
    dict
        ``pair_kappa`` (P,), ``cohen_mean`` (), ``cohen_pooled`` (), ``kappa`` (K,); NaN where
        the kappa is undefined.
    """
    scheme, totals = sample.totals.scheme, sample.totals
    d, n_patterns, n_classes = scheme.disagreement, len(sample.codes), scheme.n_classes
    observed, expected = pairs.observed[0], pairs.expected[0]
    class_kappa = 1 - quotient(observed.sum(axis=0), expected.sum(axis=0))
    pooled = 1 - float(quotient(observed.sum(), expected.sum()))
    kappa = pairs.kappa[0]
    pair_error = np.full(len(scheme.pairs), np.nan)
    mean_terms, of_class = np.zeros(n_patterns), np.zeros((n_patterns, n_classes))
    of_all = np.zeros(n_patterns)
    on_diagonal = np.eye(n_classes)
    for pair, (a, b) in enumerate(scheme.pairs):
        first, second = totals["first"][0, pair], totals["second"][0, pair]
        weight = first.sum()
        if weight == 0:
            continue
        codes_a, codes_b = sample.codes[:, a], sample.codes[:, b]
        places = np.append(scheme.places, False)
        rows = np.flatnonzero(places[codes_a] & places[codes_b])
        codes_a, codes_b = codes_a[rows], codes_b[rows]
        # what one more item in cell (k, l) does to the sums of class c: (K, K, K)
        towards_second, towards_first = d @ second, d @ first
        seen = d[:, :, None] * (on_diagonal[:, None, :] + on_diagonal[None, :, :])
        chance = (
            on_diagonal[:, None, :] * towards_second
            + on_diagonal[None, :, :] * towards_first
            + (first * d)[None, :, :]
            + (second * d)[:, None, :]
            - expected[pair]
        ) / weight
        of_class[rows] += (seen - (1 - class_kappa) * chance)[codes_a, codes_b]
        of_all[rows] += (seen - (1 - pooled) * chance).sum(axis=2)[codes_a, codes_b]
        if not np.isnan(kappa[pair]):
            cells = (seen - (1 - kappa[pair]) * chance).sum(axis=2) / expected[pair].sum()
            terms = cells[codes_a, codes_b]
            pair_error[pair] = np.sqrt((sample.times[rows] * terms**2).sum())
            mean_terms[rows] += terms
    n_defined = int((~np.isnan(kappa)).sum())
    times = sample.times
    of_kappa = quotient(np.sqrt(times @ of_class**2), expected.sum(axis=0))
    return {
        "pair_kappa": pair_error,
        "cohen_mean": quotient(np.sqrt(times @ mean_terms**2), np.asarray(float(n_defined))),
        "cohen_pooled": quotient(np.sqrt(times @ of_all**2), expected.sum()),
        "kappa": of_kappa,
    }


def ratio_error(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard error of a ratio of sums over items, and the items that it rests on.

    Parameters
    ----------
    numerator, denominator : shape (U, M)
        What each pattern adds to M ratios.
    times : shape (U,)
    """
    below = times @ denominator
    value = quotient(times @ numerator, below)
    terms = numerator - value * denominator
    return quotient(np.sqrt(times @ terms**2), below), times @ (denominator > 0)


def prevalence_index_errors(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard error of each class's prevalence index, and the items that it rests on, (K,) each."""
    n_ratings = sample.placed.sum(axis=1)[:, None]
    said = sample.placed * np.maximum(n_ratings - 1, 0)  # once for each pair that a rating is in
    pairs = np.maximum(n_ratings * (n_ratings - 1) / 2, 0) * np.ones(said.shape[1])
    return ratio_error(said, pairs, sample.times)


def bias_errors(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard error of each class's bias index, and the items that it rests on, (K,) each.

    Where two raters say a class equally often, the absolute value has a kink and no linear term.
    The error of that pair's difference is then added whole: no sum varies more than its parts do
    together.
    """
    scheme, totals = sample.totals.scheme, sample.totals
    differ = np.sign(totals["first"][0] - totals["second"][0])  # (P, K)
    classes, places = np.arange(scheme.n_classes), np.append(scheme.places, False)
    more, pairs = np.zeros((2, len(sample.codes), scheme.n_classes))
    tied = np.zeros(scheme.n_classes)
    for pair, (a, b) in enumerate(scheme.pairs):
        codes_a, codes_b = sample.codes[:, a, None], sample.codes[:, b, None]
        use = places[codes_a] & places[codes_b]
        says_more = use * (1.0 * (codes_a == classes) - (codes_b == classes))
        more += differ[pair] * says_more
        pairs += use
        tied += (differ[pair] == 0) * np.sqrt(sample.times @ says_more**2)
    error, items = ratio_error(more, pairs, sample.times)
    return error + quotient(tied, sample.times @ pairs), items


def pair_f1_errors(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard error of each pair's F1, and the items on which one found something, (P,) each."""
    scheme = sample.totals.scheme
    rated, found = sample.codes != NOT_RATED, sample.codes != scheme.negative
    errors, items = np.full(len(scheme.pairs), np.nan), np.zeros(len(scheme.pairs))
    for pair, (a, b) in enumerate(scheme.pairs):
        both = (rated[:, a] & rated[:, b]).astype(np.float64)
        together = (2 * both * (found[:, a] & found[:, b]))[:, None]
        either = (both * (found[:, a].astype(np.float64) + found[:, b]))[:, None]
        error, n = ratio_error(together, either, sample.times)
        errors[pair], items[pair] = error[0], n[0]
    return errors, items
