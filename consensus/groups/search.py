"""Components too large for an exact answer: a search, and a bound to hold it against.

Nothing here is drawn by chance, and the order of raters plays no part: the result is a function of
the graph and of the order of its nodes.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from consensus.groups.similarity import UNIT
from consensus.groups.similarity_graph import SimilarityGraph

__all__ = ["heaviest_matching", "search", "upper_bound"]

ROUNDS = 100
"""Sweeps after which improving ends; it nearly always ends by itself within ten."""

DENSE_CELLS = 250_000
"""Size of a table of weights up to which assignment works on the table itself."""

PAIRWISE_EDGES = 2_000_000
"""Edges up to which the bound solves an assignment for every pair of raters."""


def search(graph: SimilarityGraph) -> NDArray[np.int64]:
    """Join along the heaviest edges first, then move and swap nodes while the weight grows.

    Returns
    -------
    shape (n_nodes,)
        For each node the first node of its group.
    """
    positive = graph.weight > 0
    one, other, weight = graph.one[positive], graph.other[positive], graph.weight[positive]
    order = np.lexsort((other, one, -weight))
    edges = list(zip(one[order].tolist(), other[order].tolist(), strict=True))
    groups = _Groups(graph)
    for _ in range(ROUNDS):
        joined = groups.join(edges)
        moved = groups.move()
        if not (joined or moved):
            break
    first = np.empty(len(graph.raters), dtype=np.int64)
    for members in groups.members.values():
        first[list(members)] = min(members)
    return first


class _Groups:
    """A grouping that can be changed.

    Raters are the bits of a number, so that "no rater in common" is one operation. ``near`` holds
    the surplus of each node's edges, ``size`` its objects.
    """

    def __init__(self, graph: SimilarityGraph) -> None:
        n_nodes = len(graph.raters)
        self.near: list[dict[int, int]] = [{} for _ in range(n_nodes)]
        edges = graph.one.tolist(), graph.other.tolist(), graph.surplus.tolist()
        for u, v, surplus in zip(*edges, strict=True):
            self.near[u][v] = self.near[v][u] = surplus
        self.raters = [sum(1 << r for r in np.flatnonzero(row).tolist()) for row in graph.raters]
        self.size: list[int] = graph.size.tolist()
        self.of = list(range(n_nodes))
        self.members: dict[int, set[int]] = {node: {node} for node in range(n_nodes)}
        self.fresh = n_nodes

    def gain(self, node: int, group: set[int]) -> int:
        """Weight between a node and a group that it isn't in."""
        near, size = self.near[node], self.size
        surplus = sum([near.get(other, 0) for other in group])
        return surplus - UNIT * size[node] * sum([size[other] for other in group])

    def barred(self, node: int, group: set[int]) -> list[int]:
        """Members of a group that have a rater in common with a node."""
        raters, own = self.raters, self.raters[node]
        return [other for other in group if raters[other] & own]

    def join(self, edges: list[tuple[int, int]]) -> bool:
        """Merge the groups at both ends of each edge where that adds weight."""
        changed = False
        for u, v in edges:
            a, b = self.of[u], self.of[v]
            if a == b:
                continue
            one, other = self.members[a], self.members[b]
            if any(self.barred(node, one) for node in other):
                continue
            if sum(self.gain(node, one) for node in other) <= 0:
                continue
            for node in other:
                self.of[node] = a
            one |= self.members.pop(b)
            changed = True
        return changed

    def move(self) -> bool:
        """Give each node the place that adds most, in exchange for other nodes if need be."""
        changed = False
        for node, near in enumerate(self.near):
            own = self.of[node]
            rest = self.members[own] - {node}
            loss = self.gain(node, rest)
            best, place, out = -loss, -1, list[int]()  # alone
            groups = {self.of[other] for other in near} - {own}
            for group in sorted(groups, key=lambda number: min(self.members[number])):
                members = self.members[group]
                barred = sorted(self.barred(node, members))
                if len(barred) > 1:
                    continue
                gain = self.gain(node, members.difference(barred)) - loss
                for other in barred:
                    gain -= self.gain(other, members - {other})
                    if not self.barred(other, rest):
                        gain += max(0, self.gain(other, rest))
                if gain > best:
                    best, place, out = gain, group, barred
            if best <= 0:
                continue
            changed = True
            for other in out:
                fits = not self.barred(other, rest) and self.gain(other, rest) > 0
                self._place(other, own if fits else -1)
            self._place(node, place)
        return changed

    def _place(self, node: int, group: int) -> None:
        """Put a node into a group, or for -1 into one of its own."""
        old = self.of[node]
        self.members[old].discard(node)
        if group < 0:
            group, self.fresh = self.fresh, self.fresh + 1
            self.members[group] = set()
        self.members[group].add(node)
        self.of[node] = group
        if not self.members[old]:
            del self.members[old]


def upper_bound(graph: SimilarityGraph) -> int:
    """Weight that no grouping exceeds.

    The lesser of two: half of what every node would gain from its best partner of each rater; and
    the heaviest matchings of every two raters, added up. A node of several raters counts as one
    partner of each of them, with an equal share of the weight.
    """
    positive = graph.weight > 0
    one, other, weight = graph.one[positive], graph.other[positive], graph.weight[positive]
    raters, size = graph.raters, graph.size
    share = weight / (size[one] * size[other])
    partners = np.zeros(raters.shape)
    for node, partner in ((one, other), (other, one)):
        edge, rater = np.nonzero(raters[partner])
        np.maximum.at(partners, (node[edge], rater), share[edge] * size[node[edge]])
    bound = float(partners.sum()) / 2
    if len(one) <= PAIRWISE_EDGES:
        bound = min(bound, _pairwise_bound(raters, one, other, share))
    return int(np.ceil(bound - 1e-3))


def _pairwise_bound(
    raters: NDArray[np.bool_],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    share: NDArray[np.float64],
) -> float:
    """The heaviest matchings of every two raters, added up."""
    from scipy.optimize import linear_sum_assignment

    n_nodes, n_raters = raters.shape
    table = None
    if n_nodes**2 <= DENSE_CELLS:
        table = np.zeros((n_nodes, n_nodes))
        table[one, other] = table[other, one] = share
    nodes = [np.flatnonzero(raters[:, rater]) for rater in range(n_raters)]
    total = 0.0
    for a, b in itertools.combinations(range(n_raters), 2):
        if table is not None:
            between = table[nodes[a][:, None], nodes[b]]
            total += float(between[linear_sum_assignment(between, maximize=True)].sum())
            continue
        there, back = raters[one, a] & raters[other, b], raters[one, b] & raters[other, a]
        left = np.concatenate([one[there], other[back]])
        right = np.concatenate([other[there], one[back]])
        gain = np.concatenate([share[there], share[back]])
        total += float(gain[heaviest_matching(left, right, gain)].sum())
    return total


def heaviest_matching(
    left: NDArray[np.int64], right: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Edges of a matching of the largest weight between two sides, at any size.

    Weights are positive, and no edge stands twice.
    """
    if len(left) == 0:
        return np.empty(0, dtype=np.int64)
    rows, row = np.unique(left, return_inverse=True)
    columns, column = np.unique(right, return_inverse=True)
    if len(rows) * len(columns) <= DENSE_CELLS:
        from scipy.optimize import linear_sum_assignment

        table = np.zeros((len(rows), len(columns)))
        edge = np.full(table.shape, -1)
        table[row, column], edge[row, column] = weight, np.arange(len(row))
        taken: NDArray[np.int64] = edge[linear_sum_assignment(table, maximize=True)]
        return taken[taken >= 0]
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # Every row may stay alone, at a cost that any edge undercuts.
    n_rows, n_columns = len(rows), len(columns)
    alone = 2 * float(weight.max())
    cost = np.concatenate([alone - weight, np.full(n_rows, alone)])
    at_row = np.concatenate([row, np.arange(n_rows)]).astype(np.int32)
    at_column = np.concatenate([column, n_columns + np.arange(n_rows)]).astype(np.int32)
    table = csr_array((cost, (at_row, at_column)), shape=(n_rows, n_columns + n_rows))
    _, partner = min_weight_full_bipartite_matching(table)
    return np.flatnonzero(partner[row] == column)
