"""Objects that lie at one place, so that what they share can be measured around one point.

Which objects are put at one place sets the time that measuring takes, and nothing else; so this
is done by what is cheap to know, how much the bounding boxes have in common.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.groups.star_overlap import MOST_RAYS

__all__ = ["places"]

ALIKE = 0.5
"""Likeness from which objects go to one place: a point in the middle is then inside both."""

ROUNDS = 6
"""Rounds of choosing objects to gather around; what is left, next to nothing, stays as pairs."""


def places(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    likeness: NDArray[np.float64],
    n_vertices: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Part objects into those that lie around one point each.

    The object with the most neighbours that are alike, of all its neighbours, has them gather
    around it; so it goes on with those that are left.

    Parameters
    ----------
    one, other, likeness : shape (n_pairs,)
        Objects, and a share of what they have in common.
    n_vertices : shape (n_objects,)
        Vertices of each object.

    Returns
    -------
    shape (n_objects,)
        The first object at each one's place; -1 where it has none with others.
    """
    return _blocks(_centres(one, other, likeness, len(n_vertices)), n_vertices)


def _centres(
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    likeness: NDArray[np.float64],
    n: int,
) -> NDArray[np.int64]:
    """The object around which each one gathers, or -1; shape (n_objects,)."""
    centre = np.full(n, -1)
    alike = likeness >= ALIKE
    u, v = one[alike], other[alike]
    for _ in range(ROUNDS):
        if not len(u):
            break
        n_alike = np.bincount(u, minlength=n) + np.bincount(v, minlength=n)
        standing = n_alike * n + np.arange(n)
        highest = standing.copy()
        np.maximum.at(highest, u, standing[v])
        np.maximum.at(highest, v, standing[u])
        leads = (highest == standing) & (n_alike > 0)
        leader = np.full(n, -1)
        leader[leads] = standing[leads]
        for end, towards in ((u, v), (v, u)):
            led = leads[towards]
            np.maximum.at(leader, end[led], standing[towards[led]])
        centre = np.where(leader >= 0, leader % n, centre)
        free = (leader[u] < 0) & (leader[v] < 0)
        u, v = u[free], v[free]
    return centre


def _blocks(centre: NDArray[np.int64], n_vertices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Part those around a centre into blocks that have few enough vertices.

    Returns
    -------
    shape (n_objects,)
        The first object of each one's block; -1 without a centre.
    """
    number = np.full(len(centre), -1)
    members = np.argsort(centre, kind="stable")
    members = members[np.searchsorted(centre[members], 0) :]
    if len(members):
        first = np.flatnonzero(np.diff(centre[members], prepend=-1))
        size = np.diff(first, append=len(members))
        most = np.maximum(MOST_RAYS // np.maximum.reduceat(n_vertices[members], first), 2)
        rank = np.arange(len(members)) - np.repeat(first, size)
        begin = np.arange(len(members)) - rank % np.repeat(most, size)
        number[members] = members[begin]
    return number
