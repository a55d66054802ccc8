"""Noding: vertices wherever outlines meet, so that they share nothing but vertices.

Snap rounding (Hobby 1999; Guibas & Marimont 1998): crossings are rounded to the grid, and every
edge that passes through the square of one step around a vertex or a crossing gets a vertex there.
What results is free of crossings whatever the input looks like, and outlines that differ by less
than a step become one. All decisions are made in whole numbers.

Edges are cut into stripes of rows. In a row they are sorted by x, so that the edges whose boxes
overlap one's own follow it; a stripe costs what its edges and their neighbours cost, and stripes
are worked on side by side (numpy releases the interpreter's lock).

Shapes: V vertices and edges, M edges of a stripe, P pairs of edges.

References
----------
Hobby (1999), doi:10.1016/S0925-7721(99)00021-8. Guibas & Marimont (1998),
doi:10.1142/S0218195998000096.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.faces.outlines import Outlines

__all__ = ["STRIPE_EDGES", "node_outlines"]

STRIPE_EDGES = 1 << 15
"""Edges of a stripe: few enough to stay in the processor's cache."""

PAIRS = 1 << 21
"""Pairs that are looked at together."""

UNSURE = 1e-5
"""Steps from a half within which floats, that are off by 10^-7 at most, don't decide."""

CLOSE = 2.0**-26
"""Share of an edge between two places that a sorting key tells apart."""

COARSE_BITS = 10
"""In the sorting key x counts in steps of 2^10: then row, x and edge fit into 63 bits."""

EDGE_BITS, X_BITS, ROW_BITS = 21, 28, 14

Ints = NDArray[np.int64]


def node_outlines(
    outlines: Outlines, *, threads: int, stripe_edges: int = STRIPE_EDGES
) -> Outlines:
    """Give outlines a vertex wherever they meet, and mark it as a node.

    Parameters
    ----------
    threads
        Stripes that are worked on at a time.
    stripe_edges
        About how many edges a stripe has. Neither changes what comes out.
    """
    if len(outlines.x) == 0:
        return outlines
    following = outlines.following
    preceding = np.empty_like(following)
    preceding[following] = np.arange(len(following))
    rows = _Rows.of(outlines, following, stripe_edges)
    with ThreadPoolExecutor(threads) as pool:
        found = list(
            pool.map(lambda part: _meetings(outlines, following, preceding, part), rows.stripes())
        )
    found.append(_turns(outlines, following))
    for meetings in found:
        outlines.node[meetings.vertex] = True
    edge, x, y = (np.concatenate([getattr(m, name) for m in found]) for name in ("edge", "x", "y"))
    order = _along_edges(outlines, following, edge, x, y)
    edge, x, y = edge[order], x[order], y[order]
    new = np.ones(len(edge), dtype=bool)
    new[1:] = (np.diff(edge) != 0) | (np.diff(x) != 0) | (np.diff(y) != 0)
    return outlines.with_vertices(edge[new], x[new], y[new], node=True)


def _along_edges(outlines: Outlines, following: Ints, edge: Ints, x: Ints, y: Ints) -> Ints:
    """The order of places on edges: by edge, and from its start to its end."""
    after = following[edge]
    dx, dy = outlines.x[after] - outlines.x[edge], outlines.y[after] - outlines.y[edge]
    along = dx * (x - outlines.x[edge]) + dy * (y - outlines.y[edge])
    key = edge + along / (dx * dx + dy * dy)
    order = np.argsort(key)
    # What the key can't tell apart is sorted by itself, exactly.
    close = np.diff(key[order]) < CLOSE
    unsure = np.flatnonzero(np.append(close, False) | np.append(False, close))
    some = order[unsure]
    order[unsure] = some[np.lexsort((y[some], x[some], along[some], edge[some]))]
    return order


@dataclass(frozen=True)
class _Meetings:
    """Where edges meet: places (x, y) on an ``edge`` that need a vertex, and vertices that are one."""

    edge: Ints
    x: Ints
    y: Ints
    vertex: Ints

    @classmethod
    def joined(cls, parts: list[_Meetings]) -> _Meetings:
        """All of them in one."""
        names = ("edge", "x", "y", "vertex")
        none = [np.empty(0, dtype=np.int64)]
        return cls(*(np.concatenate(none + [getattr(p, name) for p in parts]) for name in names))


@dataclass(frozen=True)
class _Stripe:
    """Edges that reach into the rows from ``first`` to below ``stop``, and those rows' place."""

    edge: Ints
    first: int
    stop: int
    x_low: int
    y_low: int
    height_bits: int


@dataclass(frozen=True)
class _Rows:
    """Rows over the slide, and the edges of each stripe of them."""

    order: Ints
    bounds: Ints
    lines: Ints
    x_low: int
    y_low: int
    height_bits: int

    @classmethod
    def of(cls, outlines: Outlines, following: Ints, stripe_edges: int) -> _Rows:
        """Choose rows about as high as edges are long, and stripes of about as many edges."""
        y, y_after = outlines.y, outlines.y[following]
        low, high = np.minimum(y, y_after), np.maximum(y, y_after)
        x_low, y_low = int(outlines.x.min()) - 1, int(low.min()) - 1
        length = float(np.mean(high - low)) + float(
            np.mean(np.abs(outlines.x[following] - outlines.x))
        )
        span = int(high.max()) + 2 - y_low
        height_bits = max(round(length), span >> (ROW_BITS + 4), 4).bit_length() - 1
        first, last = (low - 1 - y_low) >> height_bits, (high + 1 - y_low) >> height_bits
        n_rows = (span >> height_bits) + 1
        n_stripes = max(1, round(len(y) / stripe_edges), -(-n_rows >> ROW_BITS))
        # Lines between stripes, where so many edges have begun.
        begun = np.cumsum(np.bincount(first, minlength=n_rows))
        inner = np.searchsorted(begun, len(y) * np.arange(1, n_stripes) / n_stripes) + 1
        wide = np.arange(0, n_rows, (1 << ROW_BITS) - 1)
        lines = np.unique(np.concatenate([[0], inner, wide[1:], [n_rows]]))
        lines = lines[lines <= n_rows]
        stripe_of_row = np.repeat(np.arange(len(lines) - 1), np.diff(lines)).astype(np.int32)
        from_stripe, to_stripe = stripe_of_row[first], stripe_of_row[last]
        n_more = to_stripe - from_stripe
        over = np.flatnonzero(n_more)
        again = np.repeat(over, n_more[over])
        step = np.arange(1, len(again) + 1) - np.repeat(
            np.cumsum(n_more[over]) - n_more[over], n_more[over]
        )
        stripe = np.concatenate([from_stripe, from_stripe[again] + step])
        narrow = stripe.astype(np.uint16) if len(lines) < 1 << 16 else stripe  # sorts by radix
        by_stripe = np.argsort(narrow, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(stripe, minlength=len(lines) - 1))])
        order = by_stripe.copy()
        copies = by_stripe >= len(y)
        order[copies] = again[by_stripe[copies] - len(y)]
        return cls(order, bounds, lines, x_low, y_low, height_bits)

    def stripes(self) -> Iterator[_Stripe]:
        """One after the other."""
        for number in range(len(self.lines) - 1):
            edge = self.order[self.bounds[number] : self.bounds[number + 1]]
            first, stop = int(self.lines[number]), int(self.lines[number + 1])
            yield _Stripe(edge, first, stop, self.x_low, self.y_low, self.height_bits)


@dataclass(frozen=True)
class _Edges:
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
    def of(cls, outlines: Outlines, number: Ints, after: Ints) -> _Edges:
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


def _meetings(outlines: Outlines, following: Ints, preceding: Ints, stripe: _Stripe) -> _Meetings:
    """Where the edges of a stripe meet."""
    edges = _Edges.of(outlines, stripe.edge, following[stripe.edge])
    parts, pairs, crossings = [], [], []
    for one, other in _near_pairs(edges, stripe):
        sides = _Sides.of(edges, one, other)
        parts.append(sides.touching())
        crossings.append(sides.crossing())
        pairs.append((one, other))
    if not pairs:
        return _Meetings.joined([])
    one, other = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    s, t, x, y = (np.concatenate(values) for values in zip(*crossings, strict=True))
    # A crossing belongs to the stripe that it lies in; all that come near it do so there.
    row = (y - stripe.y_low) >> stripe.height_bits
    here = (row >= stripe.first) & (row < stripe.stop)
    s, t, x, y = s[here], t[here], x[here], y[here]
    parts += [_at(edges, s, x, y), _at(edges, t, x, y), _third(edges, one, other, s, t, x, y)]
    for crossed in (s, t):  # pairs leave out the edges next to them on their rings
        number = edges.number[crossed]
        for beside in (preceding[number], following[number]):
            parts.append(_passing(_Edges.of(outlines, beside, following[beside]), x, y))
    return _Meetings.joined(parts)


def _near_pairs(edges: _Edges, stripe: _Stripe) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of edges (P,) whose boxes come within a step, but for neighbours on a ring."""
    low = np.maximum((edges.y_min - 1 - stripe.y_low) >> stripe.height_bits, stripe.first)
    high = np.minimum((edges.y_max + 1 - stripe.y_low) >> stripe.height_bits, stripe.stop - 1)
    n_rows = high - low + 1
    entry = np.repeat(np.arange(len(low)), n_rows)
    row = low[entry] + np.arange(len(entry)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows)
    place = ((row - stripe.first) << X_BITS) + (
        (edges.x_min[entry] - 1 - stripe.x_low) >> COARSE_BITS
    )
    key = np.sort((place << EDGE_BITS) + entry)
    if len(key) == 0:
        return
    entry = key & ((1 << EDGE_BITS) - 1)
    row = (key >> (EDGE_BITS + X_BITS)) + stripe.first
    reach = (edges.x_max[entry] + 1 - stripe.x_low) >> COARSE_BITS
    last = (((row - stripe.first) << X_BITS) + reach + 1) << EDGE_BITS
    n_after = np.searchsorted(key, last) - np.arange(1, len(key) + 1)
    y_min, y_max, first_row = edges.y_min[entry] - 1, edges.y_max[entry], low[entry]
    number, after = edges.number[entry], edges.after[entry]
    so_far = np.cumsum(n_after)
    cuts = np.searchsorted(so_far, np.arange(PAIRS, so_far[-1], PAIRS), side="right")
    cuts = np.unique(np.append(0, cuts))
    for start, stop in zip(cuts, np.append(cuts[1:], len(key)), strict=True):
        n = n_after[start:stop]
        one = np.repeat(np.arange(start, stop), n)
        other = one + np.arange(1, len(one) + 1) - np.repeat(np.cumsum(n) - n, n)
        near = (y_min[other] <= y_max[one]) & (y_min[one] <= y_max[other])
        one, other = one[near], other[near]
        # In the first row that both reach into; neighbours on a ring are another matter.
        once = row[one] == np.maximum(first_row[one], first_row[other])
        once &= (number[one] != after[other]) & (after[one] != number[other])
        yield entry[one[once]], entry[other[once]]


@dataclass(frozen=True)
class _Sides:
    """On which side of each other's line the ends of two edges lie, for pairs of edges (P,).

    Each is twice the area of a triangle in steps, exact: the ends a and b of ``other`` beside the
    line of ``one``, and those of ``one`` beside that of ``other``.
    """

    edges: _Edges
    one: Ints
    other: Ints
    other_a: Ints
    other_b: Ints
    one_a: Ints
    one_b: Ints

    @classmethod
    def of(cls, edges: _Edges, one: Ints, other: Ints) -> _Sides:
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

    def touching(self) -> _Meetings:
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
                on = on[_boxed(edges, edge[on], x[end[on]], y[end[on]])]
                parts.append(_at(edges, edge[on], x[end[on]], y[end[on]]))
                parts.append(_Meetings(none, none, none, vertex[end[on]]))
        return _Meetings.joined(parts)


def _boxed(edges: _Edges, edge: Ints, x: Ints, y: Ints) -> NDArray[np.bool_]:
    """Whether points lie in the box that an edge spans."""
    inside: NDArray[np.bool_] = (x >= edges.x_min[edge]) & (x <= edges.x_max[edge])
    inside &= (y >= edges.y_min[edge]) & (y <= edges.y_max[edge])
    return inside


def _beside(edges: _Edges, edge: Ints, x: Ints, y: Ints) -> NDArray[np.bool_]:
    """Whether edges pass through the squares of points."""
    dx, dy = edges.dx[edge], edges.dy[edge]
    side = dx * (y - edges.ya[edge]) - dy * (x - edges.xa[edge])
    return _meets_square(side, dx, dy) & _boxed(edges, edge, x, y)


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


def _at(edges: _Edges, edge: Ints, x: Ints, y: Ints) -> _Meetings:
    """Places on edges; where one is an end of the edge, that vertex is the node."""
    at_a = (x == edges.xa[edge]) & (y == edges.ya[edge])
    at_b = (x == edges.xb[edge]) & (y == edges.yb[edge])
    between = ~(at_a | at_b)
    vertex = np.concatenate([edges.number[edge[at_a]], edges.after[edge[at_b]]])
    return _Meetings(edges.number[edge[between]], x[between], y[between], vertex)


def _passing(edges: _Edges, x: Ints, y: Ints) -> _Meetings:
    """Places that their edge, one for each, passes by."""
    edge = np.arange(len(x))
    by = np.flatnonzero(_beside(edges, edge, x, y))
    return _at(edges, by, x[by], y[by])


def _third(edges: _Edges, one: Ints, other: Ints, s: Ints, t: Ints, x: Ints, y: Ints) -> _Meetings:
    """Edges that pass by the crossing (x, y) of two others, s and t."""
    # An edge that comes that near is near s as well: look among the pairs of s.
    crossed = np.zeros(len(edges.number), dtype=bool)
    crossed[s] = True
    ends, near = np.concatenate([one, other]), np.concatenate([other, one])
    of_crossed = crossed[ends]
    ends, near = ends[of_crossed], near[of_crossed]
    near = near[np.argsort(ends)]
    first = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=len(edges.number)))])
    n = first[s + 1] - first[s]
    crossing = np.repeat(np.arange(len(s)), n)
    third = near[first[s[crossing]] + np.arange(len(crossing)) - np.repeat(np.cumsum(n) - n, n)]
    by = (third != t[crossing]) & _beside(edges, third, x[crossing], y[crossing])
    third, crossing = third[by], crossing[by]
    return _at(edges, third, x[crossing], y[crossing])


def _turns(outlines: Outlines, following: Ints) -> _Meetings:
    """Where an outline turns back upon its own last edge."""
    x, y = outlines.x, outlines.y
    after = following
    dx, dy = x[after] - x, y[after] - y
    # Only an edge that runs against the one before it can.
    back = np.flatnonzero(dx * dx[after] + dy * dy[after] <= 0)
    second = after[back]
    edges = _Edges.of(
        outlines, np.concatenate([back, second]), np.concatenate([second, after[second]])
    )
    this, following_one = np.arange(len(back)), np.arange(len(back), 2 * len(back))
    parts = []
    for edge, vertex in ((this, after[second]), (following_one, back)):
        on = np.flatnonzero(_beside(edges, edge, x[vertex], y[vertex]))
        parts.append(_at(edges, edge[on], x[vertex[on]], y[vertex[on]]))
        none = np.empty(0, dtype=np.int64)
        parts.append(_Meetings(none, none, none, vertex[on]))
    return _Meetings.joined(parts)
