"""Where two edges meet: on which side of each other they lie, decided in whole numbers.

Shapes: M edges, P pairs of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.faces.outlines import Outlines

__all__ = ["Edges", "Meetings", "Sides", "beside", "places_on"]

UNSURE = 1e-5
"""Steps from a half within which floats, that are off by 10^-7 at most, don't decide."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Meetings:
    """Where edges meet: places (x, y) on an ``edge`` that need a vertex, and vertices that are one."""

    edge: Ints
    x: Ints
    y: Ints
    vertex: Ints

    @classmethod
    def joined(cls, parts: list[Meetings]) -> Meetings:
        """All of them in one."""
        names = ("edge", "x", "y", "vertex")
        none = [np.empty(0, dtype=np.int64)]
        return cls(*(np.concatenate(none + [getattr(p, name) for p in parts]) for name in names))


@dataclass(frozen=True)
class Edges:
    """The edges of a stripe, each (M,): their vertices, the ends a and b, and the box they span."""

    number: Ints
    after: Ints
    xa: Ints
    ya: Ints
    xb: Ints
    yb: Ints
    x_min: Ints
    x_max: Ints
    y_min: Ints
    y_max: Ints
    dx: Ints
    dy: Ints

    @classmethod
    def of(cls, outlines: Outlines, number: Ints, after: Ints) -> Edges:
        """The edges from vertices ``number`` to ``after``."""
        xa, ya, xb, yb = (
            outlines.x[number],
            outlines.y[number],
            outlines.x[after],
            outlines.y[after],
        )
        x_box, y_box = (
            (np.minimum(xa, xb), np.maximum(xa, xb)),
            (np.minimum(ya, yb), np.maximum(ya, yb)),
        )
        return cls(number, after, xa, ya, xb, yb, *x_box, *y_box, xb - xa, yb - ya)


@dataclass(frozen=True)
class Sides:
    """On which side of each other's line the ends of two edges lie, for pairs of edges (P,).

    Each is twice the area of a triangle in steps, exact: the ends a and b of ``other`` beside the
    line of ``one``, and those of ``one`` beside that of ``other``.
    """

    edges: Edges
    one: Ints
    other: Ints
    other_a: Ints
    other_b: Ints
    one_a: Ints
    one_b: Ints

    @classmethod
    def of(cls, edges: Edges, one: Ints, other: Ints) -> Sides:
        """Six products per pair."""
        px, py = edges.xa[other] - edges.xa[one], edges.ya[other] - edges.ya[one]
        dx, dy, qx, qy = edges.dx[one], edges.dy[one], edges.dx[other], edges.dy[other]
        turn = dx * qy - dy * qx
        other_a, one_a = dx * py - dy * px, qy * px - qx * py
        return cls(edges, one, other, other_a, other_a + turn, one_a, one_a - turn)

    def crossing(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Pairs that cross between their ends, and where, to the nearest point of the grid."""
        cross = ((self.other_a < 0) != (self.other_b < 0)) & ((self.one_a < 0) != (self.one_b < 0))
        cross &= (self.other_a != 0) & (self.other_b != 0) & (self.one_a != 0) & (self.one_b != 0)
        at = np.flatnonzero(cross)
        one, start, end = self.one[at], self.one_a[at], self.one_b[at]
        x = self.edges.xa[one] + _share_of(self.edges.dx[one], start, start - end)
        y = self.edges.ya[one] + _share_of(self.edges.dy[one], start, start - end)
        return one, self.other[at], x, y

    def touching(self) -> Meetings:
        """Ends that lie on the other edge, or on its end."""
        edges, parts = self.edges, []
        none = np.empty(0, dtype=np.int64)
        for edge, end, side_of_a, side_of_b in (
            (self.one, self.other, self.other_a, self.other_b),
            (self.other, self.one, self.one_a, self.one_b),
        ):
            dx, dy = edges.dx[edge], edges.dy[edge]
            for side, x, y, vertex in (
                (side_of_a, edges.xa, edges.ya, edges.number),
                (side_of_b, edges.xb, edges.yb, edges.after),
            ):
                on = np.flatnonzero(_meets_square(side, dx, dy))
                on = on[boxed(edges, edge[on], x[end[on]], y[end[on]])]
                parts.append(places_on(edges, edge[on], x[end[on]], y[end[on]]))
                parts.append(Meetings(none, none, none, vertex[end[on]]))
        return Meetings.joined(parts)


def boxed(edges: Edges, edge: Ints, x: Ints, y: Ints) -> NDArray[np.bool_]:
    """Whether points lie in the box that an edge spans."""
    inside: NDArray[np.bool_] = (x >= edges.x_min[edge]) & (x <= edges.x_max[edge])
    inside &= (y >= edges.y_min[edge]) & (y <= edges.y_max[edge])
    return inside


def beside(edges: Edges, edge: Ints, x: Ints, y: Ints) -> NDArray[np.bool_]:
    """Whether edges pass through the squares of points."""
    dx, dy = edges.dx[edge], edges.dy[edge]
    side = dx * (y - edges.ya[edge]) - dy * (x - edges.xa[edge])
    return _meets_square(side, dx, dy) & boxed(edges, edge, x, y)


def _meets_square(side: Ints, dx: Ints, dy: Ints) -> NDArray[np.bool_]:
    """Whether a line in direction (dx, dy) meets the square of one step around a point.

    Squares tile the plane: of its corners only the lowest in x and y belongs to a square, and a
    line that touches another one doesn't meet it. No line between points of the grid runs along
    the side of a square.

    Parameters
    ----------
    side
        Twice the area between the line's direction and the point.
    """
    twice, reach = 2 * np.abs(side), np.abs(dx) + np.abs(dy)
    meets: NDArray[np.bool_] = twice <= reach
    corner = np.flatnonzero(meets & (twice == reach))
    if len(corner):
        dx, dy, side = dx[corner], dy[corner], side[corner]
        falls = (dx != 0) & (dy != 0) & ((dx < 0) != (dy < 0))
        meets[corner] = falls & ((side > 0) == (dx > 0))
    return meets


def _share_of(length: Ints, part: Ints, whole: Ints) -> Ints:
    """``length * part / whole`` to the nearest step, halves up: exact."""
    steps = length * (part / whole) + 0.5
    nearest = np.floor(steps).astype(np.int64)
    # Products of three numbers don't fit into 64 bits; where floats are unsure, Python's do.
    for i in np.flatnonzero(np.abs(steps - np.rint(steps)) < UNSURE):
        above, below = 2 * int(length[i]) * int(part[i]), 2 * int(whole[i])
        nearest[i] = (above + int(whole[i])) // below
    return nearest


def places_on(edges: Edges, edge: Ints, x: Ints, y: Ints) -> Meetings:
    """Places on edges; where one is an end of the edge, that vertex is the node."""
    at_a = (x == edges.xa[edge]) & (y == edges.ya[edge])
    at_b = (x == edges.xb[edge]) & (y == edges.yb[edge])
    between = ~(at_a | at_b)
    vertex = np.concatenate([edges.number[edge[at_a]], edges.after[edge[at_b]]])
    return Meetings(edges.number[edge[between]], x[between], y[between], vertex)
