"""Ratings made with a prediction in sight: none decides alone, and decisions are nobody's figures.

Shapes: n items, R raters, K classes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from consensus.fused import OPEN, Fused, RaterQuality
from consensus.ratings import NOT_RATED, Ratings
from consensus.study.study_ratings import StudyRatings

__all__ = ["alone", "of_reads", "open_where_alone", "reads_alone"]


def alone(rated: StudyRatings) -> NDArray[np.bool_]:
    """Items that a single person has rated, with a prediction in sight, (n,)."""
    n_ratings = (rated.ratings.codes != NOT_RATED).sum(axis=1)
    found: NDArray[np.bool_] = (n_ratings == 1) & rated.ai_assisted.any(axis=1)
    return found


def open_where_alone(rated: StudyRatings, fused: Fused) -> Fused:
    """The same consensus, open where :func:`alone` says so, whatever number of raters suffices."""
    lone = alone(rated)
    if not lone.any():
        return fused
    return replace(fused, labels=np.where(lone, OPEN, fused.labels))


def reads_alone(rated: StudyRatings) -> Ratings:
    """The ratings without the decisions that were counted as such."""
    codes = np.where(rated.decided, NOT_RATED, rated.ratings.codes)
    return replace(rated.ratings, codes=codes.astype(np.int32))


def of_reads(rated: StudyRatings, fused: Fused) -> tuple[Ratings, Fused]:
    """What raters are measured by: what they read, against the whole consensus.

    Whoever has only decided is no rater there.
    """
    if not rated.decided.any():
        return rated.ratings, fused
    ratings = reads_alone(rated)
    kept = np.flatnonzero((ratings.codes != NOT_RATED).any(axis=0))
    raters = tuple(ratings.raters[rater] for rater in kept.tolist())
    ratings = replace(ratings, raters=raters, codes=ratings.codes[:, kept])
    classes = np.arange(len(ratings.classes))
    weighed = fused.truth * ratings.weight[:, None]  # (n, K)
    confusion = np.stack([weighed.T @ (said[:, None] == classes) for said in ratings.codes.T])
    return ratings, replace(fused, raters=raters, quality=RaterQuality(confusion))
