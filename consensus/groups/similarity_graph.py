"""Objects and their similarities as a graph that can be cut down and taken apart.

A node is an object, or several of different raters that are known to be one. Any two objects take
off ``UNIT`` from the weight of a group that holds both, and an edge between two nodes holds what
their pairs add above that. That way edges add up when nodes become one, and nodes that are far
from each other need no edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from consensus.groups.similarity import UNIT

__all__ = ["SimilarityGraph", "connected"]


def connected(one: NDArray[np.int64], other: NDArray[np.int64], n_nodes: int) -> NDArray[np.int64]:
    """Number of each node's connected component; shape (n_nodes,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    matrix = coo_array((np.ones(len(one), dtype=bool), (one, other)), shape=(n_nodes, n_nodes))
    part: NDArray[np.int64] = connected_components(matrix, directed=False)[1].astype(np.int64)
    return part


@dataclass(frozen=True)
class SimilarityGraph:
    """Nodes of raters, and edges between nodes that have no rater in common.

    ``raters`` (n_nodes, n_raters) says of which raters a node is, with one object of each.
    ``one`` < ``other`` and ``surplus`` > 0 are (n_edges,); no edge stands twice.
    """

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    surplus: NDArray[np.int64]
    raters: NDArray[np.bool_]

    @cached_property
    def size(self) -> NDArray[np.int64]:
        """Objects of each node; shape (n_nodes,)."""
        size: NDArray[np.int64] = self.raters.sum(axis=1, dtype=np.int64)
        return size

    @cached_property
    def weight(self) -> NDArray[np.int64]:
        """What each edge adds to a group that holds both ends, below zero or above."""
        weight: NDArray[np.int64] = (
            self.surplus - UNIT * self.size[self.one] * self.size[self.other]
        )
        return weight

    def components(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number of each node's component in the graph of the chosen edges."""
        return connected(self.one[chosen], self.other[chosen], len(self.raters))

    def inside(self, group: NDArray[np.int64]) -> NDArray[np.int64]:
        """Weight of all pairs inside each group, given the number of each node's group."""
        size = np.bincount(group, weights=self.size)
        squares = np.bincount(group, weights=self.size**2)
        within = group[self.one] == group[self.other]
        surplus = np.bincount(
            group[self.one[within]], weights=self.surplus[within], minlength=len(size)
        )
        # Floats hold these sums exactly: they stay below 2^53.
        n_pairs = (size**2 - squares).astype(np.int64) // 2
        return surplus.astype(np.int64) - UNIT * n_pairs

    def merged(self, to: NDArray[np.int64]) -> SimilarityGraph:
        """Make one node of all that go ``to`` the same; the others stay, without a rater."""
        raters = np.zeros_like(self.raters)
        node, rater = np.nonzero(self.raters)
        raters[to[node], rater] = True
        u, v = to[self.one], to[self.other]
        return SimilarityGraph.of(u, v, self.surplus, raters)

    @classmethod
    def of(
        cls,
        u: NDArray[np.int64],
        v: NDArray[np.int64],
        surplus: NDArray[np.int64],
        raters: NDArray[np.bool_],
    ) -> SimilarityGraph:
        """Add up edges between the same nodes, and leave out those that no group can hold."""
        bits = np.packbits(raters, axis=1)
        possible = (u != v) & ~(bits[u] & bits[v]).any(axis=1)
        u, v, surplus = u[possible], v[possible], surplus[possible]
        key = np.minimum(u, v)
        key *= len(raters)
        key += np.maximum(u, v)
        del possible, u, v
        order = np.argsort(key, kind="stable")
        key, surplus = key[order], surplus[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        if len(first) < len(key):
            key, surplus = key[first], np.add.reduceat(surplus, first)
        return cls(key // len(raters), key % len(raters), surplus, raters)

    def linked(self) -> tuple[NDArray[np.int64], SimilarityGraph]:
        """The nodes that an edge of positive weight ends at, and the graph of them."""
        touched = np.zeros(len(self.raters), dtype=bool)
        touched[self.one[self.weight > 0]] = True
        touched[self.other[self.weight > 0]] = True
        return np.flatnonzero(touched), self.selected(touched)

    def selected(self, chosen: NDArray[np.bool_]) -> SimilarityGraph:
        """The graph of the chosen nodes."""
        place = np.cumsum(chosen) - 1
        kept = chosen[self.one] & chosen[self.other]
        edges = place[self.one[kept]], place[self.other[kept]], self.surplus[kept]
        return SimilarityGraph(*edges, self.raters[chosen])

    def split(self) -> Iterator[tuple[NDArray[np.int64], SimilarityGraph]]:
        """Components of more than one node: their nodes in rising order, and their graphs."""
        part = self.components(self.weight > 0)
        nodes = np.argsort(part, kind="stable")
        starts = np.searchsorted(part[nodes], np.arange(part.max(initial=-1) + 2))
        place = np.empty(len(part), dtype=np.int64)
        place[nodes] = np.arange(len(nodes)) - starts[part[nodes]]
        within = part[self.one] == part[self.other]
        one, other, surplus = self.one[within], self.other[within], self.surplus[within]
        edges = np.argsort(part[one], kind="stable")
        cuts = np.searchsorted(part[one[edges]], np.arange(len(starts)))
        columns = place[one[edges]], place[other[edges]], surplus[edges]
        for number in np.flatnonzero(np.diff(starts) > 1).tolist():
            members = nodes[starts[number] : starts[number + 1]]
            cut = slice(cuts[number], cuts[number + 1])
            one, other, surplus = (column[cut] for column in columns)
            yield members, SimilarityGraph(one, other, surplus, self.raters[members])
