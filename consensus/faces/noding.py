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

import numpy as np
from numpy.typing import NDArray

from consensus.faces.meetings import Edges, Meetings, Sides, beside, places_on
from consensus.faces.outlines import Outlines
from consensus.faces.stripes import Rows, Stripe
from consensus.ragged import spread

__all__ = ["STRIPE_EDGES", "node_outlines"]

STRIPE_EDGES = 1 << 15
"""Edges of a stripe: few enough to stay in the processor's cache."""

PAIRS = 1 << 21
"""Pairs that are looked at together."""

CLOSE = 2.0**-26
"""Share of an edge between two places that a sorting key tells apart."""

KEY_BITS = 62
"""Bits of the key that sorts edges by row and by x."""

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
    rows = Rows.of(outlines, stripe_edges)
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


def _meetings(outlines: Outlines, following: Ints, preceding: Ints, stripe: Stripe) -> Meetings:
    """Where the edges of a stripe meet."""
    edges = Edges.of(outlines, stripe.edge, following[stripe.edge])
    parts, pairs, crossings = [], [], []
    for one, other in _near_pairs(edges, stripe):
        sides = Sides.of(edges, one, other)
        parts.append(sides.touching())
        crossings.append(sides.crossing())
        pairs.append((one, other))
    if not pairs:
        return Meetings.joined([])
    one, other = (np.concatenate(ends) for ends in zip(*pairs, strict=True))
    s, t, x, y = (np.concatenate(values) for values in zip(*crossings, strict=True))
    # A crossing belongs to the stripe that it lies in; all that come near it do so there.
    row = (y - stripe.y_low) >> stripe.height_bits
    here = (row >= stripe.first) & (row < stripe.stop)
    s, t, x, y = s[here], t[here], x[here], y[here]
    parts += [
        places_on(edges, s, x, y),
        places_on(edges, t, x, y),
        _third(edges, one, other, s, t, x, y),
    ]
    for crossed in (s, t):  # pairs leave out the edges next to them on their rings
        number = edges.number[crossed]
        for next_to in (preceding[number], following[number]):
            parts.append(_passing(Edges.of(outlines, next_to, following[next_to]), x, y))
    return Meetings.joined(parts)


def _near_pairs(edges: Edges, stripe: Stripe) -> Iterator[tuple[Ints, Ints]]:
    """Pairs of edges (P,) whose boxes come within a step, but for neighbours on a ring."""
    low = np.maximum((edges.y_min - 1 - stripe.y_low) >> stripe.height_bits, stripe.first)
    high = np.minimum((edges.y_max + 1 - stripe.y_low) >> stripe.height_bits, stripe.stop - 1)
    entry, row = spread(high - low + 1)
    row += low[entry]
    # The key holds the row, x as finely as there is room for, and the edge.
    edge_bits, row_bits = len(low).bit_length(), (stripe.stop - stripe.first).bit_length()
    x_bits = KEY_BITS - edge_bits - row_bits
    span = int(edges.x_max.max(initial=stripe.x_low)) + 2 - stripe.x_low
    coarse = max(0, span.bit_length() - x_bits)
    place = ((row - stripe.first) << x_bits) + ((edges.x_min[entry] - 1 - stripe.x_low) >> coarse)
    key = np.sort((place << edge_bits) + entry)
    if len(key) == 0:
        return
    entry = key & ((1 << edge_bits) - 1)
    row = (key >> (edge_bits + x_bits)) + stripe.first
    reach = (edges.x_max[entry] + 1 - stripe.x_low) >> coarse
    last = (((row - stripe.first) << x_bits) + reach + 1) << edge_bits
    n_after = np.searchsorted(key, last) - np.arange(1, len(key) + 1)
    y_min, y_max, first_row = edges.y_min[entry] - 1, edges.y_max[entry], low[entry]
    number, after = edges.number[entry], edges.after[entry]
    so_far = np.cumsum(n_after)
    cuts = np.searchsorted(so_far, np.arange(PAIRS, so_far[-1], PAIRS), side="right")
    cuts = np.unique(np.append(0, cuts))
    for start, stop in zip(cuts, np.append(cuts[1:], len(key)), strict=True):
        one, step = spread(n_after[start:stop])
        one += start
        other = one + 1 + step
        near = (y_min[other] <= y_max[one]) & (y_min[one] <= y_max[other])
        one, other = one[near], other[near]
        # In the first row that both reach into; neighbours on a ring are another matter.
        once = row[one] == np.maximum(first_row[one], first_row[other])
        once &= (number[one] != after[other]) & (after[one] != number[other])
        yield entry[one[once]], entry[other[once]]


def _passing(edges: Edges, x: Ints, y: Ints) -> Meetings:
    """Places that their edge, one for each, passes by."""
    edge = np.arange(len(x))
    by = np.flatnonzero(beside(edges, edge, x, y))
    return places_on(edges, by, x[by], y[by])


def _third(edges: Edges, one: Ints, other: Ints, s: Ints, t: Ints, x: Ints, y: Ints) -> Meetings:
    """Edges that pass by the crossing (x, y) of two others, s and t."""
    # An edge that comes that near is near s as well: look among the pairs of s.
    crossed = np.zeros(len(edges.number), dtype=bool)
    crossed[s] = True
    ends, near = np.concatenate([one, other]), np.concatenate([other, one])
    of_crossed = crossed[ends]
    ends, near = ends[of_crossed], near[of_crossed]
    near = near[np.argsort(ends)]
    first = np.concatenate([[0], np.cumsum(np.bincount(ends, minlength=len(edges.number)))])
    crossing, step = spread(first[s + 1] - first[s])
    third = near[first[s[crossing]] + step]
    by = (third != t[crossing]) & beside(edges, third, x[crossing], y[crossing])
    third, crossing = third[by], crossing[by]
    return places_on(edges, third, x[crossing], y[crossing])


def _turns(outlines: Outlines, following: Ints) -> Meetings:
    """Where an outline turns back upon its own last edge."""
    x, y = outlines.x, outlines.y
    found = [np.empty(0, dtype=np.int64)]
    for block, after in outlines.blocks():
        dx, dy = x[after] - x[block], y[after] - y[block]
        second = following[after]
        # Only an edge that runs against the one before it can.
        against = dx * (x[second] - x[after]) + dy * (y[second] - y[after]) <= 0
        found.append(block.start + np.flatnonzero(against))
    back = np.concatenate(found)
    second = following[back]
    edges = Edges.of(
        outlines, np.concatenate([back, second]), np.concatenate([second, following[second]])
    )
    this, following_one = np.arange(len(back)), np.arange(len(back), 2 * len(back))
    parts = []
    for edge, vertex in ((this, following[second]), (following_one, back)):
        on = np.flatnonzero(beside(edges, edge, x[vertex], y[vertex]))
        parts.append(places_on(edges, edge[on], x[vertex[on]], y[vertex[on]]))
        none = np.empty(0, dtype=np.int64)
        parts.append(Meetings(none, none, none, vertex[on]))
    return Meetings.joined(parts)
