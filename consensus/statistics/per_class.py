"""Agreement class by class, and on whether there is anything at all.

Shapes: B replicates, P pairs, K classes.

References
----------
Specific agreement (Dice): Cicchetti & Feinstein (1990), doi:10.1016/0895-4356(90)90159-M.
Fleiss' kappa of one class against the rest: Fleiss (1971), doi:10.1037/h0031619.
Prevalence and bias index: Byrt, Bishop & Carlin (1993), doi:10.1016/0895-4356(93)90018-V.
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
    - ``prevalence_index``: in a pair's table of the class against the rest, (both say it - neither
      does) / all; from -1 (never said) over 0 (as often as not) to 1. Tables are added up over
      pairs, which weighs each by what the two co-rated. For two raters it is Byrt's.
    - ``bias_index``: how much more often one of the two says the class, as a part of what they
      co-rated, without its sign; summed over pairs before dividing, as above. A sign would
      depend on who is called the first. For two raters it is the absolute value of Byrt's. Drawn
      again it never falls below 0, so its bootstrap interval begins above 0 whoever the raters are.

    The two indices are about the same tables as ``kappa``, and explain why it is low where raters
    agree: a class that is rare, or that one of them says more often.
    """
    weighted = pairs.pair_weight[:, :, None]
    first, second = totals["first"], totals["second"]
    co_rated = (first.sum(axis=2) * pairs.pair_weight).sum(axis=1)[:, None]
    margins = ((first + second) * weighted).sum(axis=1)
    bias = (np.abs(first - second) * weighted).sum(axis=1)
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
        "prevalence_index": quotient(margins, co_rated) - 1,
        "bias_index": quotient(bias, co_rated),
    }


def detection_figures(totals: Totals) -> dict[str, NDArray[np.float64]]:
    """F1 of finding anything: pooled over pairs, shape (B,), and of each pair, (B, P)."""
    return {
        "f1": quotient(totals["both_present"], totals["either_present"]),
        "pair_f1": quotient(2 * totals["found_both"], totals["found_either"]),
    }
