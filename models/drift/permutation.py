"""Is what two groups of patients differ in more than chance would make of it?

Whole patients change groups, all indicators at once, so that what is common to a patient's slides
and to several indicators stays together. Every indicator is scaled by its own mean and deviation
over all permutations, the observed grouping among them, and held against the largest of those that
are not yet decided (step-down max-T): the chance that any indicator alarms where none has changed
is at most alpha, however the indicators hang together.

Shapes: P patients, B groupings, J indicators.

References
----------
Westfall & Young (1993), Resampling-Based Multiple Testing, algorithm 2.8, on the step-down max-T.
Phipson & Smyth (2010), doi:10.2202/1544-6115.1585, on counting the observed grouping.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from annotation.errors import InputError

__all__ = [
    "MIN_PATIENTS",
    "Distance",
    "Permuted",
    "check_permutations",
    "distinct_groupings",
    "permutation_test",
    "regrouped",
]

Floats = NDArray[np.float64]

Distance = Callable[[Floats], Floats]
"""How far apart two groups are, (B,), of who is in the second, (B, P) of 0 and 1; larger is further.

NaN where one of the groups has nothing to compare.
"""

MIN_PATIENTS = 5
"""With fewer in either group nothing is tested: few groupings of so few are different ones."""

_MOST_PERMUTATIONS = 100_000
_SAME = 1e-9  # of a scaled distance: sums of the same numbers in another order


@dataclass(frozen=True, eq=False)
class Permuted:
    """What the permutations say of each indicator.

    Attributes
    ----------
    observed : shape (J,)
        Distances of the groups as they are.
    p_value : shape (J,)
        Share of groupings that are as far apart, the observed one among them.
    p_adjusted : shape (J,)
        The same against the largest distance of all indicators.
    """

    observed: Floats
    p_value: Floats
    p_adjusted: Floats


def check_permutations(permutations: int, alpha: float) -> None:
    """Refuse numbers with which no alarm could ever come, or every time.

    Raises
    ------
    InputError
        With what would do.
    """
    if not 0 < alpha < 1:
        raise InputError(f"alpha is {alpha:g}; give a share between 0 and 1, as 0.01")
    needed = math.ceil(1 / alpha - 1e-9) - 1
    if not needed <= permutations <= _MOST_PERMUTATIONS:
        raise InputError(
            f"{permutations} permutations can't show p <= {alpha:g}; give --permutations from "
            f"{needed} to {_MOST_PERMUTATIONS:,}"
        )


def distinct_groupings(n_reference: int, n_current: int) -> int:
    """In how many ways so many patients fall into two groups of these sizes."""
    return math.comb(n_reference + n_current, n_current)


def regrouped(current: NDArray[np.bool_], permutations: int, seed: int) -> Floats:
    """Who is in the second group: as it is, and after each permutation, (1 + permutations, P).

    Parameters
    ----------
    current : shape (P,)
        Whether each patient is in the second group.
    """
    rng = np.random.default_rng(seed)
    rows = np.tile(current.astype(np.float64), (permutations + 1, 1))
    rows[1:] = rng.permuted(rows[1:], axis=1)
    return rows


def permutation_test(distances: Floats) -> Permuted:
    """Test all indicators together.

    Parameters
    ----------
    distances : shape (B, J)
        Of every grouping from :func:`regrouped`, of which the first is as observed. NaN, where a
        group has nothing to compare, is no distance.
    """
    found = np.nan_to_num(distances, nan=0.0)
    spread = found.std(axis=0)
    moved = spread > 1e-12 * np.abs(found).max(axis=0, initial=0.0)
    scaled = np.where(moved, (found - found.mean(axis=0)) / np.where(moved, spread, 1.0), 0.0)
    least = scaled[0] - _SAME
    order = np.argsort(-scaled[0], kind="stable")
    # The largest of each indicator and those that come after it: [B, J] -> [B, J]
    largest = np.maximum.accumulate(scaled[:, order[::-1]], axis=1)[:, ::-1]
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate((largest >= least[order]).mean(axis=0))
    return Permuted(found[0], (scaled >= least).mean(axis=0), adjusted)
