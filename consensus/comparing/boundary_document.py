"""What an agreement document says of boundaries: the figures without strips along them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from consensus.comparing.comparisons import Method
from consensus.ratings import NOT_RATED
from consensus.study.study_ratings import StudyRatings

__all__ = ["boundary_part"]

FIGURES = ("domain_um2", "coefficients", "per_class", "pairs")
"""Of a whole document, the parts that stand with and without strips."""


def boundary_part(rated: StudyRatings, method: Method) -> dict[str, Any]:
    """``boundary``: the figures over everything but strips; nothing where none were asked for.

    ``left_out_um2`` is the area of the strips, ``disputed_um2`` that of all places where two
    raters differ.
    """
    if rated.strips is None:
        return {}
    ratings, strip_um2 = rated.ratings, rated.strips.weight_um2
    weight_um2 = ratings.weight - strip_um2
    kept = replace(ratings, weight=weight_um2, domain_um2=float(weight_um2.sum()), notes=())
    document = method.agreement(kept).to_dict()
    beyond = np.iinfo(np.int32).max
    lowest = np.where(ratings.codes == NOT_RATED, beyond, ratings.codes).min(axis=1)
    disputed = lowest < ratings.codes.max(axis=1)
    return {
        "boundary": {
            "tolerance_um": rated.strips.tolerance_um,
            "left_out_um2": float(strip_um2.sum()),
            "disputed_um2": float(ratings.weight[disputed].sum()),
            **{name: document[name] for name in FIGURES},
        }
    }
