"""Figures of one rater given what a reference says: class by class, in one direction.

Shapes: B replicates, K classes, U patterns; the rater is the first of the only pair of raters,
the reference the second.

References
----------
Conditional kappa: Coleman (1966) in Light (1971), doi:10.1037/h0031643; its variance: Bishop,
Fienberg & Holland (1975), Discrete Multivariate Analysis, section 11.4.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.ratings import NOT_RATED
from consensus.statistics.coefficients import quotient
from consensus.statistics.standard_errors import Sample, ratio_error
from consensus.statistics.totals import Totals

__all__ = ["given_reference", "given_reference_errors"]

_ROUNDING = 1e-12


def given_reference(totals: Totals) -> dict[str, NDArray[np.float64]]:
    """Figures of each class of the reference, shape (B, K); NaN where undefined.

    - ``conditional_kappa``: disagreement on the items that the reference calls c, observed over
      expected from how often the rater says each class at all. Weighted disagreement enters as it
      does in kappa; with nominal weights it is Light's.
    - ``sensitivity``: part of what the reference calls c that the rater calls c.
    - ``specificity``: part of everything else that the rater doesn't call c.
    """
    first, second = totals["first"][:, 0], totals["second"][:, 0]
    apart = first @ totals.scheme.disagreement
    expected = second * quotient(apart, first.sum(axis=1, keepdims=True))
    hits, misses, alarms = (totals[name][:, 0] for name in ("hits", "misses", "alarms"))
    others = (hits + misses) @ (1 - np.eye(hits.shape[1]))
    return {
        "conditional_kappa": 1 - quotient(totals["observed_given"][:, 0], expected),
        "sensitivity": quotient(hits, hits + misses),
        "specificity": 1 - quotient(np.minimum(alarms, others), others),
    }


def given_reference_errors(
    sample: Sample, values: NDArray[np.float64]
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Analytic standard errors of the figures, and the items that each rests on, (K,) both.

    Where no item adds to a conditional kappa's error, as where the rater never misses the class,
    there is none: 0 would claim certainty.

    Parameters
    ----------
    values : shape (K,)
        The conditional kappas.
    """
    scheme, codes, times = sample.totals.scheme, sample.codes, sample.times
    rater, reference = codes[:, 0], codes[:, 1]
    both = ((rater != NOT_RATED) & (reference != NOT_RATED))[:, None]
    classes = np.arange(scheme.n_classes)
    says, holds = (rater[:, None] == classes) & both, (reference[:, None] == classes) & both
    places = np.append(scheme.places, False)
    use = (places[rater] & places[reference])[:, None]
    first, second = sample.totals["first"][0, 0], sample.totals["second"][0, 0]
    n, apart = float(first.sum()), first @ scheme.disagreement
    expected = second * apart / max(n, 1.0)
    distance = np.where(use, scheme.disagreement[rater], 0.0)  # (U, K)
    given = holds & use
    # What one more item does to the observed and to the expected disagreement.
    chance = (given * apart + distance * second - use * expected) / max(n, 1.0)
    terms = given * distance - (1 - values) * chance
    spread = np.sqrt(times @ terms**2)
    spread[spread <= _ROUNDING * np.maximum(expected, 1.0)] = np.nan
    return {
        "conditional_kappa": (quotient(spread, expected), second),
        "sensitivity": ratio_error(1.0 * (holds & says), 1.0 * holds, times),
        "specificity": ratio_error(1.0 * (both & ~holds & ~says), 1.0 * (both & ~holds), times),
    }
