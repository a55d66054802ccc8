"""How much no grouping of a graph can exceed, to hold the result of a search against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.groups.similarity_graph import SimilarityGraph, connected

__all__ = ["heaviest_matching", "heaviest_matchings", "upper_bounds"]

DENSE_CELLS = 250_000
"""Size of a table of weights up to which assignment works on the table itself."""


def upper_bounds(graph: SimilarityGraph, part: NDArray[np.int64]) -> NDArray[np.int64]:
    """Weight that no grouping of a component exceeds, for each; shape (n_parts,).

    The lesser of two: half of what every node would gain from its best partner of each rater; and
    the heaviest matchings of every two raters, added up. A node of several raters counts as one
    partner of each of them, with an equal share of the weight.

    Parameters
    ----------
    part : shape (n_nodes,)
        Number of each node's component.
    """
    positive = graph.weight > 0
    one, other, weight = graph.one[positive], graph.other[positive], graph.weight[positive]
    raters, size = graph.raters, graph.size
    share = weight / (size[one] * size[other])
    partners = np.zeros(raters.shape)
    for node, partner in ((one, other), (other, one)):
        edge, rater = np.nonzero(raters[partner])
        np.maximum.at(partners, (node[edge], rater), share[edge] * size[node[edge]])
    bound = np.bincount(part, weights=partners.sum(axis=1)) / 2
    bound = np.minimum(bound, _pairwise_bounds(raters, part, one, other, share))
    bounds: NDArray[np.int64] = np.ceil(bound - 1e-3).astype(np.int64)
    return bounds


def _pairwise_bounds(
    raters: NDArray[np.bool_],
    part: NDArray[np.int64],
    one: NDArray[np.int64],
    other: NDArray[np.int64],
    share: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The heaviest matchings of every two raters, added up, for each component."""
    n_nodes, n_raters = raters.shape
    # An edge for each two raters, from the node of the first of them to that of the second.
    edge, rater_of_one = np.nonzero(raters[one])
    at, rater_of_other = np.nonzero(raters[other[edge]])
    edge, rater_of_one = edge[at], rater_of_one[at]
    forward = rater_of_one < rater_of_other
    left = np.where(forward, one[edge], other[edge])
    right = np.where(forward, other[edge], one[edge])
    two = np.minimum(rater_of_one, rater_of_other) * n_raters
    two += np.maximum(rater_of_one, rater_of_other)
    matched = heaviest_matchings(two * n_nodes + left, two * n_nodes + right, share[edge])
    n_parts = int(part.max(initial=-1)) + 1
    return np.bincount(part[left], weights=matched, minlength=n_parts).astype(np.float64)


def heaviest_matchings(
    left: NDArray[np.int64], right: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each edge adds to a heaviest matching of two sides: its weight, or nothing.

    The graph is taken apart first: nearly all of its components are a single edge, or edges that
    share a node, of which the heaviest is taken. Ties go to the lower nodes, whichever side they
    are on.

    Parameters
    ----------
    left, right : shape (n_edges,)
        Nodes of either side, none of both. No edge stands twice.
    weight : shape (n_edges,)
        Above zero.
    """
    taken = np.zeros(len(weight))
    if len(weight) == 0:
        return taken
    ends, place = np.unique(np.concatenate([left, right]), return_inverse=True)
    left, right = np.split(place, 2)
    part = connected(left, right, len(ends))
    side = np.zeros(len(ends), dtype=np.int64)
    side[right] = 1
    # Each node's place among those of its component and side: its row, or column, of a table.
    sides = np.argsort(2 * part + side, kind="stable")
    sizes = np.bincount(2 * part + side, minlength=2 * int(part.max()) + 2)
    rank = np.empty(len(ends), dtype=np.int64)
    rank[sides] = np.arange(len(ends)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    first = np.unique(part, return_index=True)[1]
    turned = side[first] == 1
    edges = np.lexsort((np.maximum(left, right), np.minimum(left, right), -weight, part[left]))
    starts = np.flatnonzero(np.diff(part[left[edges]], prepend=-1))
    stops = np.append(starts[1:], len(edges))
    n_rows, n_columns = sizes[::2], sizes[1::2]
    star = np.minimum(n_rows, n_columns) == 1
    heaviest = edges[starts[star]]
    taken[heaviest] = weight[heaviest]
    for number in np.flatnonzero(~star).tolist():
        some = edges[starts[number] : stops[number]]
        row, column = rank[left[some]], rank[right[some]]
        shape = int(n_rows[number]), int(n_columns[number])
        if turned[number]:
            row, column, shape = column, row, shape[::-1]
        chosen = some[_heaviest(row, column, weight[some], shape)]
        taken[chosen] = weight[chosen]
    return taken


def heaviest_matching(
    left: NDArray[np.int64], right: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Edges of a matching of the largest weight between two sides, at any size.

    Weights are positive, and no edge stands twice.
    """
    rows, row = np.unique(left, return_inverse=True)
    columns, column = np.unique(right, return_inverse=True)
    return _heaviest(row, column, weight, (len(rows), len(columns)))


def _heaviest(
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    weight: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.int64]:
    n_rows, n_columns = shape
    if n_rows * n_columns <= DENSE_CELLS:
        from scipy.optimize import linear_sum_assignment

        table = np.zeros(shape)
        edge = np.full(shape, -1)
        table[row, column], edge[row, column] = weight, np.arange(len(row))
        taken: NDArray[np.int64] = edge[linear_sum_assignment(table, maximize=True)]
        return taken[taken >= 0]
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    # Every row may stay alone, at a cost that any edge undercuts.
    alone = 2 * float(weight.max())
    cost = np.concatenate([alone - weight, np.full(n_rows, alone)])
    at_row = np.concatenate([row, np.arange(n_rows)]).astype(np.int32)
    at_column = np.concatenate([column, n_columns + np.arange(n_rows)]).astype(np.int32)
    sparse = csr_array((cost, (at_row, at_column)), shape=(n_rows, n_columns + n_rows))
    _, partner = min_weight_full_bipartite_matching(sparse)
    return np.flatnonzero(partner[row] == column)
