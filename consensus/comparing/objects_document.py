"""What an agreement document says of objects beside what it says of all ratings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.statistics.weights import disagreement_weights
from consensus.study.study_ratings import StudyRatings

__all__ = ["objects_part"]


def objects_part(
    rated: StudyRatings, weights: str | NDArray[np.float64], document: Mapping[str, Any]
) -> dict[str, Any]:
    """``matching``, and ``detection`` completed; nothing where no objects are rated.

    Parameters
    ----------
    weights
        As :func:`consensus.agreement.agreement` takes them.
    document
        What that made of the ratings.
    """
    if rated.matching is None or rated.detection is None:
        return {}
    ratings, grouped = rated.ratings, document["detection"]
    disagreement = disagreement_weights(weights, ratings.classes, ratings.rank)
    strict = rated.detection.of_pairs()
    pairs = [
        {**pair, "f1_strict": strict[pair["a"], pair["b"]].to_dict()} for pair in grouped["pairs"]
    ]
    found = {**grouped, "pairs": pairs, **rated.detection.to_dict(disagreement)}
    return {"matching": rated.matching.to_dict(), "detection": found}
