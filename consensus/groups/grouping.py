"""Parting objects into groups so that the weight inside groups is as large as it can be.

A group holds at most one object of each rater. Compatible pairs in it add their similarity, other
pairs take something off (``consensus.groups.similarity``).

That is NP-hard from three raters on, so the problem is cut down first: nodes that are worth more
together than all that they could gain elsewhere stay together in some optimum and become one node;
what is left falls into components. Small ones are solved exactly, and so are those of two raters,
by assignment; the others by search (``consensus.groups.search``), with an upper bound
(``consensus.groups.bounds``) beside the result.

Nodes are numbered in an order that has nothing to do with raters, every tie goes to the lower
number, and all sums are of integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from consensus.groups.bounds import heaviest_matching, upper_bounds
from consensus.groups.search import search
from consensus.groups.similarity import UNIT
from consensus.groups.similarity_graph import SimilarityGraph

__all__ = ["MOST_EXACT", "Grouping", "group_nodes"]

MOST_EXACT = 14
"""Nodes beyond which the exact method takes too much memory."""

BATCH_CELLS = 1 << 20
"""Table entries that the exact method holds at a time."""

FORBIDDEN = -(10**15)
"""Weight of two objects of one rater: more than any sum of weights makes up for."""


@dataclass(frozen=True)
class Grouping:
    """Groups of nodes: ``group`` (n_nodes,) numbers them in the order of their first node.

    ``weight`` is the sum over all pairs of nodes inside groups, and no grouping has more than
    ``bound``. ``n_exact`` and ``n_heuristic`` count the connected components of the graph.
    """

    group: NDArray[np.int64]
    weight: int
    bound: int
    n_exact: int
    n_heuristic: int


def group_nodes(graph: SimilarityGraph, exact_limit: int) -> Grouping:
    """Part the nodes of a graph into groups of the largest weight.

    Components of more than ``exact_limit`` nodes, after cutting down, are solved by search if
    they are of more than two raters; one in which the search reaches the bound counts as exact.
    """
    n_nodes = len(graph.raters)
    whole = graph.components(graph.weight > 0)
    group, nodes, left = _contracted(graph)
    joined = np.arange(n_nodes)
    searched = np.zeros(len(nodes), dtype=bool)
    small: dict[int, list[tuple[NDArray[np.int64], SimilarityGraph]]] = {}
    for place, part in left.split():
        members = nodes[place]
        if len(members) <= exact_limit:
            small.setdefault(len(members), []).append((members, part))
        elif part.raters.any(axis=0).sum() == 2:
            joined[members] = members[_assigned(part)]
        else:
            joined[members] = members[search(part)]
            searched[place] = True
    crowd, short = _shortfall(left.selected(searched), joined[nodes[searched]])
    unproved = nodes[searched][short[crowd] > 0]
    slack = int(short.sum())
    for size, parts in small.items():
        step = max(1, BATCH_CELLS >> size)
        for start in range(0, len(parts), step):
            batch = parts[start : start + step]
            for (members, _), first in zip(batch, _exact([p for _, p in batch]), strict=True):
                joined[members] = members[first]
    group = joined[group]
    weight = int(graph.inside(group).sum())
    n_components = len(np.unique(whole[graph.one[graph.weight > 0]]))
    n_heuristic = len(np.unique(whole[unproved]))
    _, group = np.unique(group, return_inverse=True)
    return Grouping(group, weight, weight + slack, n_components - n_heuristic, n_heuristic)


def _shortfall(
    graph: SimilarityGraph, group: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How far the groups of each component may be from the best ones.

    Returns
    -------
    part : shape (n_nodes,)
        Number of each node's component.
    short : shape (n_parts,)
        Its bound less the weight inside its groups.
    """
    part = graph.components(graph.weight > 0)
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    bounds = upper_bounds(graph, part)
    return part, bounds - _sums(part[first], graph.inside(group), len(bounds))


def _contracted(
    graph: SimilarityGraph,
) -> tuple[NDArray[np.int64], NDArray[np.int64], SimilarityGraph]:
    """Make one node of nodes that stay together in some optimum.

    Candidates are the components of the graph of the heavier edges, for a few thresholds.

    Returns
    -------
    group : shape (n_nodes,)
        The first node of each one's set.
    nodes : shape (n_left,)
        The nodes that still have an edge of positive weight.
    left
        The graph of them.
    """
    group = np.arange(len(graph.raters))
    nodes, left = graph.linked()
    n_before = -1
    while len(nodes) not in (0, n_before):
        n_before = len(nodes)
        levels = np.quantile(left.weight[left.weight > 0], np.arange(0, 1, 0.1), method="lower")
        for least in np.unique(levels):
            part = left.components(left.weight >= least)
            settled = _stays_together(left, part)
            if not settled.any():
                continue
            _, first = np.unique(part, return_index=True)
            to = np.where(settled[part], first[part], np.arange(len(part)))
            step = np.arange(len(group))
            step[nodes] = nodes[to]
            group = step[group]
            place, left = left.merged(to).linked()
            nodes = nodes[place]
    return group, nodes, left


def _stays_together(graph: SimilarityGraph, part: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which sets of nodes stay together in some optimum; shape (n_sets,).

    To take a set apart costs at least its lightest cut, and its members then gain at most the
    edges of positive weight that leave it. The lightest cut is no lighter than the node with the
    least weight to the others, or than what a cut between two nodes or more on either side is
    sure to hold: of its 2 (n - 2) pairs or more, all but those that aren't positive.
    """
    n_nodes = np.bincount(part)
    n_sets = len(n_nodes)
    node, rater = np.nonzero(graph.raters)
    n_raters = graph.raters.shape[1]
    objects = np.bincount(part[node] * n_raters + rater, minlength=n_sets * n_raters)
    feasible = (objects.reshape(n_sets, n_raters) <= 1).all(axis=1) & (n_nodes > 1)

    within = part[graph.one] == part[graph.other]
    positive = graph.weight > 0
    leaving = ~within & positive
    gain = _sums(part[graph.one[leaving]], graph.weight[leaving], n_sets)
    gain += _sums(part[graph.other[leaving]], graph.weight[leaving], n_sets)

    objects_of = np.bincount(part, weights=graph.size).astype(np.int64)
    to_others = _sums(graph.one[within], graph.surplus[within], len(part))
    to_others += _sums(graph.other[within], graph.surplus[within], len(part))
    to_others -= UNIT * graph.size * (objects_of[part] - graph.size)
    cut = np.full(n_sets, np.iinfo(np.int64).max)
    np.minimum.at(cut, part, to_others)

    good = within & positive
    n_bad = n_nodes * (n_nodes - 1) // 2 - np.bincount(part[graph.one[good]], minlength=n_sets)
    bad = graph.inside(part) - _sums(part[graph.one[good]], graph.weight[good], n_sets)
    lightest = np.full(n_sets, np.iinfo(np.int64).max >> 32)
    np.minimum.at(lightest, part[graph.one[good]], graph.weight[good])
    broad = np.maximum(2 * (n_nodes - 2) - n_bad, 0) * lightest + bad
    cut = np.where(n_nodes >= 4, np.minimum(cut, broad), cut)
    stays: NDArray[np.bool_] = feasible & (gain <= cut)
    return stays


def _sums(place: NDArray[np.int64], weight: NDArray[np.int64], n_places: int) -> NDArray[np.int64]:
    """Weights added up at each place; floats hold the sums exactly, below 2^53."""
    return np.bincount(place, weights=weight, minlength=n_places).astype(np.int64)


def _exact(graphs: list[SimilarityGraph]) -> NDArray[np.int64]:
    """Solve components of one size by dynamic programming over sets of nodes.

    Returns
    -------
    shape (n_graphs, n_nodes)
        For each node the first node of its group.
    """
    n_graphs, size = len(graphs), len(graphs[0].raters)
    pair = np.empty((n_graphs, size, size), dtype=np.int64)
    for number, graph in enumerate(graphs):
        raters = graph.raters.astype(np.int64)
        pair[number] = -UNIT * np.outer(graph.size, graph.size) + FORBIDDEN * (raters @ raters.T)
        pair[number, graph.one, graph.other] += graph.surplus
        pair[number, graph.other, graph.one] += graph.surplus
    # Sets in rows, graphs in columns: what is looked up for all graphs stands in one piece.
    pair = np.ascontiguousarray(pair.transpose(1, 2, 0))
    whole = np.zeros((1 << size, n_graphs), dtype=np.int64)  # weight of each set as one group
    best = np.zeros_like(whole)
    for nodes in range(1, 1 << size):
        first, rest = _first(nodes), nodes & (nodes - 1)
        others = [k for k in range(first + 1, size) if rest >> k & 1]
        whole[nodes] = whole[rest] + pair[first, others].sum(axis=0)
        subsets = _subsets(rest)
        value = whole[nodes ^ rest ^ subsets]
        value += best[rest ^ subsets]
        best[nodes] = value.max(axis=0)
    first_of = np.empty((n_graphs, size), dtype=np.int64)
    for number in range(n_graphs):
        nodes = (1 << size) - 1
        while nodes:
            rest = nodes & (nodes - 1)
            subsets = _subsets(rest)
            value = whole[nodes ^ rest ^ subsets, number] + best[rest ^ subsets, number]
            rest ^= int(subsets[value.argmax()])
            members = [k for k in range(size) if (nodes ^ rest) >> k & 1]
            first_of[number, members] = members[0]
            nodes = rest
    return first_of


def _first(nodes: int) -> int:
    """The lowest of a set of bits."""
    return (nodes & -nodes).bit_length() - 1


@lru_cache(maxsize=1 << MOST_EXACT)
def _subsets(nodes: int) -> NDArray[np.int64]:
    """All subsets of a set of bits, the whole set first."""
    subsets = np.zeros(1, dtype=np.int64)
    while nodes:
        low = nodes & -nodes
        subsets = np.concatenate([subsets, subsets | low])
        nodes ^= low
    return subsets[::-1].copy()


def _assigned(graph: SimilarityGraph) -> NDArray[np.int64]:
    """Solve a component of two raters: an assignment of the largest weight, at any size."""
    positive = graph.weight > 0
    one, other, weight = graph.one[positive], graph.other[positive], graph.weight[positive]
    side = graph.raters.argmax(axis=1) != graph.raters[0].argmax()  # the first node's side first
    left, right = np.where(side[one], other, one), np.where(side[one], one, other)
    chosen = heaviest_matching(left, right, weight.astype(np.float64))
    first = np.arange(len(graph.raters))
    first[other[chosen]] = one[chosen]
    return first
