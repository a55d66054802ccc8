"""Which objects two raters both found at a threshold, matched without regard to other raters.

A group of several raters may hold a pair that misses the threshold by a hair
(``consensus.matching``). Here every match keeps to it, which is what a reader expects of F1 at a
threshold: of the ways to match two raters' objects one to one, each pair at the threshold or
better, the one with the most pairs, and among these the one with the largest similarity. So what
two raters both found never grows as the threshold rises. Objects that share a UUID are matched
at every threshold.

References
----------
Raffel et al. (2014), mir_eval, https://brianmcfee.net/papers/ismir2014_mireval.pdf, takes the
largest matching for F-measures too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.groups.bounds import heaviest_matchings
from consensus.matching import Candidates

__all__ = ["FoundPairs", "found_by_both"]


@dataclass(frozen=True)
class FoundPairs:
    """Matched objects of every two raters, as rows of the candidates: ``one`` of the first of them."""

    one: NDArray[np.int64]
    other: NDArray[np.int64]


def found_by_both(
    candidates: Candidates,
    *,
    iou: float,
    distance_px: float,
    inside: NDArray[np.bool_] | None = None,
) -> FoundPairs:
    """Match the objects of every two raters at thresholds.

    Parameters
    ----------
    candidates
        With every pair that overlaps as much as ``iou``.
    distance_px
        At most twice what the candidates were looked up with.
    inside : shape (n_objects, n_raters)
        Whether an object lies where a rater has looked; None: everywhere. An object counts
        between two raters where both have looked.
    """
    pairs, rater, node = candidates.pairs, candidates.rater, candidates.node
    n_raters = len(candidates.raters)
    same_one, same_other = _same(node)
    partnered = np.zeros((len(node), n_raters), dtype=bool)  # with a rater's object by UUID
    partnered[same_one, rater[same_other]] = True
    partnered[same_other, rater[same_one]] = True
    kept = pairs.within(iou=iou, distance_px=distance_px)
    one, other, rank = pairs.one[kept], pairs.other[kept], pairs.iou[kept]
    if distance_px > 0:
        rank = np.where(np.isnan(rank), 1 - pairs.away_px[kept] / (2 * distance_px), rank)
    rank = np.where(np.isnan(rank), 1.0, rank)
    free = ~(partnered[one, rater[other]] | partnered[other, rater[one]])
    free &= _counts(inside, rater, one, other)
    one, other, rank = _ordered(rater, one[free], other[free], rank[free])
    chosen = _largest(candidates, one, other, rank)
    counted = _counts(inside, rater, same_one, same_other)
    same_one, same_other, _ = _ordered(
        rater, same_one[counted], same_other[counted], np.ones(int(counted.sum()))
    )
    return FoundPairs(
        np.concatenate([same_one, one[chosen]]), np.concatenate([same_other, other[chosen]])
    )


def _same(node: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of objects that share a UUID; they stand in a row."""
    found = [(np.empty(0, dtype=np.int64),) * 2]
    for step in range(1, len(node)):
        first = np.flatnonzero(node[:-step] == node[step:])
        if not first.size:
            break
        found.append((first, first + step))
    one, other = (np.concatenate(column) for column in zip(*found, strict=True))
    return one, other


def _counts(
    inside: NDArray[np.bool_] | None,
    rater: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether both raters of a pair have looked at the places of both objects."""
    counts = np.ones(len(one), dtype=bool)
    if inside is not None:
        for place in (one, other):
            counts &= inside[place, rater[one]] & inside[place, rater[other]]
    return counts


def _ordered(
    rater: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    rank: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Put the object of the first of two raters first."""
    turned = rater[one] > rater[other]
    return np.where(turned, other, one), np.where(turned, one, other), rank


def _largest(
    candidates: Candidates,
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    rank: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Which pairs stand in a matching of the most pairs, and of the largest similarity."""
    rater, node, n_raters = candidates.rater, candidates.node, len(candidates.raters)
    n_nodes = int(node.max(initial=-1)) + 1
    # Most pairs are alone: neither object has another partner of the other's rater.
    chosen = np.ones(len(one), dtype=bool)
    for place, partner in ((one, other), (other, one)):
        key = place * n_raters + rater[partner]
        chosen &= np.bincount(key, minlength=1)[key] == 1
    crowd = np.flatnonzero(~chosen)
    two = (rater[one[crowd]] * n_raters + rater[other[crowd]]) * n_nodes
    # A further pair is worth more than any similarities.
    weight = rank[crowd] + len(node)
    matched = heaviest_matchings(two + node[one[crowd]], two + node[other[crowd]], weight)
    chosen[crowd] = matched > 0
    return chosen
