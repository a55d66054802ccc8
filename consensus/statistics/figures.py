"""All agreement figures of sums over items, in one call that replicates and slides share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.coefficients import coefficients, pair_tables
from consensus.statistics.given_reference import given_reference
from consensus.statistics.per_class import class_figures, detection_figures
from consensus.statistics.resampling import Figures
from consensus.statistics.totals import Totals

__all__ = ["figures_of"]


def figures_of(totals: Totals, multiplicity: NDArray[np.float64] | None = None) -> Figures:
    """All figures of each row of totals; NaN where one is undefined.

    Parameters
    ----------
    multiplicity : shape (B, R)
        How often each rater was drawn; None: once.

    Returns
    -------
    dict
        Those of :data:`consensus.statistics.coefficients.COEFFICIENTS` and ``f1``, shape (B,); ``kappa``,
        ``expected``, ``fleiss_class``, ``dice``, ``prevalence``, ``prevalence_index`` and
        ``bias_index``, (B, K); ``pair_kappa`` and ``pair_f1``, (B, P). Of directed totals also
        those of :func:`consensus.statistics.given_reference.given_reference`, (B, K).
    """
    pairs = pair_tables(totals, multiplicity)
    return {
        **coefficients(totals, pairs, multiplicity),
        **class_figures(totals, pairs),
        **detection_figures(totals),
        "pair_kappa": pairs.kappa,
        **(given_reference(totals) if totals.scheme.directed else {}),
    }
