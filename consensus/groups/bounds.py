"""How much no grouping of a graph can exceed, to hold the result of a search against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.groups.similarity_graph import SimilarityGraph, connected

__all__ = ["heaviest_matching", "upper_bounds"]

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
    matched = _heaviest_matchings(two * n_nodes + left, two * n_nodes + right, share[edge])
    return np.bincount(part[left], weights=matched, minlength=int(part.max(initial=-1)) + 1)


def _heaviest_matchings(
    left: NDArray[np.int64], right: NDArray[np.int64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each edge adds to a heaviest matching: its weight, or nothing.

    The graph is taken apart first: nearly all of its components are a single edge, or edges that
    share a node, of which the heaviest is taken.
    """
    ends, place = np.unique(np.concatenate([left, right]), return_inverse=True)
    left, right = np.split(place, 2)
    part = connected(left, right, len(ends))[left]
    order = np.lexsort((-weight, part))
    left, right, part = left[order], right[order], part[order]
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    taken = np.zeros(len(order))
    weights = weight[order]
    if len(starts) == 0:
        return taken
    sides = [
        np.minimum.reduceat(side, starts) == np.maximum.reduceat(side, starts)
        for side in (left, right)
    ]
    star = sides[0] | sides[1]
    taken[order[starts[star]]] = weights[starts[star]]
    stops = np.append(starts[1:], len(order))
    for start, stop in zip(starts[~star].tolist(), stops[~star].tolist(), strict=True):
        chosen = start + heaviest_matching(left[start:stop], right[start:stop], weights[start:stop])
        taken[order[chosen]] = weights[chosen]
    return taken


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
