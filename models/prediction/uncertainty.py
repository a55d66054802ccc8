"""How sure a prediction is: what passes agree on, and what they don't.

Entropies are in nats. Of the entropy of the mean, the mutual information is the part that is left
when the mean entropy of the passes is taken off: what the passes disagree on.

Shapes: T passes, K classes.

References
----------
Houlsby et al. (2011), arXiv:1112.5745, on the mutual information; Gal & Ghahramani (2016),
arXiv:1506.02142, on passes with dropout; Lakshminarayanan, Pritzel & Blundell (2017),
arXiv:1612.01474, on ensembles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["INTERVAL_PERCENT", "Spread", "entropy_of", "passes_interval", "spread_of"]

Floats = NDArray[np.float64]

INTERVAL_PERCENT = 95.0


@dataclass(frozen=True, eq=False)
class Spread:
    """What passes say together.

    Attributes
    ----------
    mean, variance : shape (..., K)
        Over the passes; the variance is divided by their number.
    entropy, mutual_information : shape (...)
        Of the mean, and what of it the passes disagree on.
    """

    mean: Floats
    variance: Floats
    entropy: Floats
    mutual_information: Floats


def entropy_of(probabilities: NDArray[np.floating[Any]]) -> Floats:
    """Entropy of distributions (..., K), shape (...); a probability of 0 adds nothing."""
    p = np.asarray(probabilities, np.float64)
    # The logarithm of 1 stands where there is nothing to take one of.
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1))


def spread_of(passes: NDArray[np.floating[Any]]) -> Spread:
    """The spread of passes, shape (T, ..., K); rows along K sum to 1."""
    p = np.asarray(passes, np.float64)
    mean = p.mean(axis=0)
    whole = entropy_of(mean)
    within = entropy_of(p).mean(axis=0)
    # By Jensen's inequality the difference is at least 0; rounding may take it below.
    return Spread(mean, p.var(axis=0), whole, np.maximum(whole - within, 0.0))


def passes_interval(passes: Floats) -> tuple[Floats, Floats] | None:
    """Percentiles between which 95 % of passes (T, K) lie, each (K,); None of a single pass."""
    if len(passes) < 2:
        return None
    outside = (100.0 - INTERVAL_PERCENT) / 2
    low, high = np.percentile(passes, (outside, 100.0 - outside), axis=0)
    return low, high
