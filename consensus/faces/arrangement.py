"""The arrangement of noded outlines: chains of edges between nodes, and the cycles around faces.

A chain runs from node to node and meets no other outline in between, so faces are told apart by
chains alone, however many vertices lie on them. Each chain is walked in both directions, as two
half-chains; a half-chain's face lies on its left, and at its end the face goes on with the next
chain clockwise. So every face is a set of closed walks: one around it, and one around each island
in it.

Frame: level-0 pixels in steps of the grid. Shapes: V vertices, C chains, H = 2 C half-chains
(2 c runs as chain c, 2 c + 1 against it), Y cycles, G connected components.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from consensus.faces.noding import STRIPE_EDGES, node_outlines
from consensus.faces.outlines import GRID_PX, Outlines
from consensus.faces.turns import Ints, Turns, compact, numbered_cycles

__all__ = ["Arrangement", "Bounds", "arrange"]

THREAD_PX = 4 * GRID_PX
"""Width up to which a face between outlines comes of rounding them."""

SCATTER = np.uint64(0x9E3779B97F4A7C15).astype(np.int64)
"""Scatters places over all numbers: 2^64 over the golden ratio."""

MOST_ROUNDS = 4
"""Snap rounding takes one round; another would mend a crossing that was rounded wrongly."""


@dataclass(frozen=True)
class Bounds:
    """What the rings run along: ring ``ring`` has its polygon to the left of ``half_chain``.

    One entry for each time that a ring runs along a chain.
    """

    half_chain: Ints
    ring: Ints


@dataclass(frozen=True)
class Arrangement:
    """Chains, and how they follow each other.

    ``first`` and ``n_edges`` (C,) are a chain's first vertex and its number of edges, its vertices
    standing in a row in ``outlines``; ``last`` (C,) is the vertex in which it ends. ``origin`` (H,)
    is the node from which a half-chain runs. ``bends`` (n_nodes,) marks nodes that are more than two
    vertices that keep long edges short, in one place.
    """

    outlines: Outlines
    first: Ints
    n_edges: Ints
    last: Ints
    origin: Ints
    bends: NDArray[np.bool_]
    turns: Turns
    bounds: Bounds

    @classmethod
    def of(cls, outlines: Outlines) -> Arrangement:
        """Arrange noded outlines."""
        outlines = _begun_at_nodes(outlines)
        visit = np.flatnonzero(outlines.node)
        node, n_nodes = _numbered(outlines.x[visit], outlines.y[visit])
        ring_of_visit = np.searchsorted(outlines.start, visit, side="right") - 1
        n_visits = np.bincount(ring_of_visit, minlength=len(outlines.polygon))
        stop = np.cumsum(n_visits)
        after = np.arange(1, len(visit) + 1)
        after[stop - 1] = stop - n_visits
        n_edges = np.diff(np.append(visit, len(outlines.x)))
        walk, chain, along = _without_doubles(node, node[after], n_edges)
        left = np.where((outlines.inward[ring_of_visit] > 0) == along, 0, 1)
        first, n_edges, last = visit[walk], n_edges[walk], visit[after[walk]]
        origin = np.stack([node[walk], node[after[walk]]], axis=1).reshape(-1)
        turns = Turns.of(outlines, first, n_edges, last, origin, n_nodes)
        bounds = Bounds(compact(2 * chain + left), compact(ring_of_visit))
        bends = np.bincount(node, outlines.bends[visit], minlength=n_nodes) > 0
        return cls(
            outlines=outlines,
            first=compact(first),
            n_edges=compact(n_edges),
            last=compact(last),
            origin=compact(origin),
            bends=bends,
            turns=turns,
            bounds=bounds,
        )

    @cached_property
    def cycle(self) -> Ints:
        """The cycle that each half-chain belongs to, (H,)."""
        return numbered_cycles(self.turns.following())

    @cached_property
    def n_cycles(self) -> int:
        """Y."""
        return int(self.cycle.max(initial=-1)) + 1

    @cached_property
    def component(self) -> Ints:
        """The connected component of each node."""
        n_nodes = int(self.origin.max(initial=-1)) + 1
        ends = self.origin.reshape(-1, 2)
        links = csr_array(
            (np.ones(len(ends), dtype=bool), (ends[:, 0], ends[:, 1])), (n_nodes,) * 2
        )
        component: Ints = connected_components(links, directed=False)[1]
        return component

    @property
    def is_planar(self) -> bool:
        """Euler's formula: faces, edges and nodes fit if, and only if, no two chains cross."""
        n_nodes, n_components = len(self.component), int(self.component.max(initial=-1)) + 1
        return self.n_cycles == len(self.first) - n_nodes + 2 * n_components

    @cached_property
    def _measures(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of each chain (C,): the area between it and a vertical line through its start, signed in
        the direction of the chain, in px2; and its length in px.
        """
        x, y = self.outlines.x, self.outlines.y
        walk = np.flatnonzero(self.outlines.node)
        sweep_px2, length_px = np.zeros((2, len(walk)))
        for block, after in self.outlines.blocks():
            # A walk may have begun in the block before.
            low = int(np.searchsorted(walk, block.start, side="right")) - 1
            high = int(np.searchsorted(walk, block.stop))
            first = np.maximum(walk[low:high], block.start) - block.start
            dx, dy = (x[after] - x[block]) * GRID_PX, (y[after] - y[block]) * GRID_PX
            starts = np.repeat(x[walk[low:high]], np.diff(np.append(first, len(after))))
            aside_px = (x[block] - starts) * GRID_PX + dx / 2
            sweep_px2[low:high] += np.add.reduceat(aside_px * dy, first)
            length_px[low:high] += np.add.reduceat(np.hypot(dx, dy), first)
        of_chain = np.searchsorted(walk, self.first)
        return sweep_px2[of_chain], length_px[of_chain]

    @cached_property
    def cycle_px2(self) -> NDArray[np.float64]:
        """Area that each cycle encloses, (Y,): negative around the outside of a component."""
        x, y = self.outlines.x, self.outlines.y
        reference = np.zeros(self.n_cycles, dtype=np.int64)
        reference[self.cycle[::2]] = x[self.first]
        reference[self.cycle[1::2]] = x[self.first]
        rise_px = (y[self.last] - y[self.first]) * GRID_PX
        area_px2 = np.zeros(self.n_cycles)
        for side, sign in ((0, 1.0), (1, -1.0)):
            cycle = self.cycle[side::2]
            shift_px = (x[self.first] - reference[cycle]) * GRID_PX
            area_px2 += np.bincount(
                cycle, sign * (self._measures[0] + shift_px * rise_px), minlength=self.n_cycles
            )
        return area_px2

    @cached_property
    def cycle_like(self) -> Ints:
        """The cycle whose face each one's face goes with, (Y,): itself, unless it is a thread.

        Rounding to the grid can open a face no wider than a few steps between two outlines, with
        a pattern of labels that nobody drew. It goes with the neighbour of its longest border.
        """
        like = np.arange(self.n_cycles)
        length_px = self._measures[1]
        around_px = np.bincount(self.cycle, np.repeat(length_px, 2), minlength=self.n_cycles)
        thread = self.cycle_px2 < THREAD_PX / 2 * around_px
        thread[self.outer_cycle] = False
        if not thread.any():
            return like
        inner, beyond = self.cycle, self.cycle.reshape(-1, 2)[:, ::-1].reshape(-1)
        half_chain = np.flatnonzero(thread[inner] & ~thread[beyond])
        key, place = np.unique(
            inner[half_chain].astype(np.int64) * self.n_cycles + beyond[half_chain],
            return_inverse=True,
        )
        shared_px = np.bincount(place.reshape(-1), length_px[half_chain >> 1])
        inner, beyond = np.divmod(key, self.n_cycles)
        order = np.lexsort((self.cycle_px2[beyond], shared_px, inner))
        like[inner[order]] = beyond[order]  # the longest comes last
        return like

    @cached_property
    def outer_cycle(self) -> Ints:
        """The cycle around the outside of each component, (G,): the one of negative area."""
        outer = np.full(int(self.component.max(initial=-1)) + 1, -1, dtype=np.int64)
        component = np.empty(self.n_cycles, dtype=np.int64)
        component[self.cycle] = self.component[self.origin]
        # A component without any area has cycles of none.
        flat = np.flatnonzero(self.cycle_px2 <= 0)
        flat = flat[np.argsort(-self.cycle_px2[flat], kind="stable")]
        outer[component[flat]] = flat  # the most negative comes last
        return outer

    def along(self, chosen: NDArray[np.bool_]) -> Arrangement:
        """The arrangement with only some of its chains, (C,); its other cycles join."""
        return replace(self, turns=self.turns.among(np.repeat(chosen, 2)))


def arrange(
    polygons: NDArray[np.object_], *, threads: int, stripe_edges: int = STRIPE_EDGES
) -> Arrangement:
    """Node the outlines of valid single polygons, and arrange them.

    Parameters
    ----------
    threads, stripe_edges
        As for :func:`consensus.faces.noding.node_outlines`.
    """
    outlines = Outlines.of(polygons)
    for _ in range(MOST_ROUNDS):
        outlines = node_outlines(outlines, threads=threads, stripe_edges=stripe_edges)
        arrangement = Arrangement.of(outlines)
        if arrangement.is_planar:
            return arrangement
    raise AssertionError("noded outlines still cross")


def _begun_at_nodes(outlines: Outlines) -> Outlines:
    """Turn each ring so that it begins with a node; one that meets nothing gets one."""
    start, size = outlines.start[:-1], np.diff(outlines.start)
    if len(start) == 0:
        return outlines
    n_nodes = np.add.reduceat(outlines.node, start, dtype=np.int64)
    node = outlines.node
    if (n_nodes == 0).any():
        node = node.copy()
        node[start[n_nodes == 0]] = True
    places = np.flatnonzero(node)
    first = places[np.searchsorted(places, start)] - start
    if not first.any():
        return replace(outlines, node=node)
    # Of each ring first the piece from its first node on, then the one before it.
    shift = np.stack([first, first - size], axis=1).reshape(-1)
    source = np.repeat(shift, np.stack([size - first, first], axis=1).reshape(-1))
    source += np.arange(len(source))
    return replace(
        outlines,
        x=outlines.x[source],
        y=outlines.y[source],
        bends=outlines.bends[source],
        node=node[source],
    )


def _numbered(x: Ints, y: Ints) -> tuple[Ints, int]:
    """A number for each place, the same for equal places, and how many there are."""
    # One key sorts faster than two, and hardly ever stands for two places.
    order = np.argsort(x * SCATTER + y)
    new = _changes(x[order], y[order])
    key = (x * SCATTER + y)[order]
    if (new[1:] & (key[1:] == key[:-1])).any():
        order = np.lexsort((y, x))
        new = _changes(x[order], y[order])
    # Numbered as they come, since outlines are sorted by place and numbers should be.
    first = np.minimum.reduceat(order, np.flatnonzero(new)) if len(order) else order
    comes_first = np.zeros(len(x), dtype=bool)
    comes_first[first] = True
    as_they_come = np.cumsum(comes_first) - 1
    number = np.empty(len(x), dtype=np.int64)
    number[order] = as_they_come[first][np.cumsum(new) - 1]
    return number, len(first)


def _changes(*columns: Ints) -> NDArray[np.bool_]:
    """Where a row differs from the one before it; the first one does."""
    new = np.zeros(len(columns[0]), dtype=bool)
    new[:1] = True
    for column in columns:
        new[1:] |= column[1:] != column[:-1]
    return new


def _without_doubles(
    origin: Ints, target: Ints, n_edges: Ints
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """Chains that are one: single edges between the same nodes. Longer ones share no vertex.

    Returns
    -------
    walk : shape (C,)
        The walk that stands for each chain.
    chain, along : shape (n_walks,)
        The chain of each walk, and whether the walk runs as the one that stands for it.
    """
    single = np.flatnonzero(n_edges == 1)
    low = np.minimum(origin[single], target[single])
    key = (low << 32) + np.maximum(origin[single], target[single])
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    stands = n_edges > 1
    stands[single[first]] = True
    walk = np.flatnonzero(stands)
    number = np.cumsum(stands) - 1
    chain = number.copy()
    chain[single] = number[single[first]][place.reshape(-1)]
    return walk, chain, origin == origin[walk[chain]]
