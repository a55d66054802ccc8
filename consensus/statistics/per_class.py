"""Agreement class by class, and on whether there is anything at all.

Shapes: B replicates, P pairs, K classes.

References
----------
Specific agreement (Dice): Cicchetti & Feinstein (1990), doi:10.1016/0895-4356(90)90159-M.
Fleiss' kappa of one class against the rest: Fleiss (1971), doi:10.1037/h0031619.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.coefficients import PairTables, quotient
from consensus.statistics.totals import Totals

__all__ = ["class_figures", "detection_figures"]


def class_figures(totals: Totals, pairs: PairTables) -> dict[str, NDArray[np.float64]]:
    """Figures of each class, shape (B, K); NaN where undefined.

    - ``kappa``: disagreement, observed over expected, in the cells of the pairs' tables in
      which at least one of the two said the class. With nominal weights and two raters it
      is Cohen's kappa of the class against the rest.
    - ``expected``: its denominator. Kappas weighted by it average to ``cohen_pooled``.
    - ``fleiss_class``: Fleiss' kappa of the class against the rest.
    - ``dice``: of two ratings of one item of which one says the class, how often the other
      does too; pooled over pairs of raters.
    - ``prevalence``: part of the ratings that say the class, every item counted once.
    """
    weighted = pairs.pair_weight[:, :, None]
    observed = (pairs.observed * weighted).sum(axis=1)
    expected = (pairs.expected * weighted).sum(axis=1)
    share = quotient(totals["share"], totals["items_rated"][:, None])
    rest = share @ (1 - np.eye(share.shape[1]))  # 1 - share, and exactly 0 where it is 0
    within = quotient(totals["disagree_class"], totals["items_paired"][:, None])
    return {
        "kappa": 1 - quotient(observed, expected),
        "expected": expected,
        "fleiss_class": 1 - quotient(within, 2 * share * rest),
        "dice": quotient(totals["both"], totals["either"]),
        "prevalence": quotient(totals["named"], totals["items_named"][:, None]),
    }


def detection_figures(totals: Totals) -> dict[str, NDArray[np.float64]]:
    """F1 of finding anything: pooled over pairs, shape (B,), and of each pair, (B, P)."""
    return {
        "f1": quotient(totals["both_present"], totals["either_present"]),
        "pair_f1": quotient(2 * totals["found_both"], totals["found_either"]),
    }
