"""How half-chains follow each other around the faces on their left.

Shapes: H half-chains; 2 c runs as chain c, 2 c + 1 against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from consensus.faces.outlines import Outlines

__all__ = ["Ints", "Turns", "compact", "numbered_cycles"]

Ints = NDArray[np.integer[Any]]
"""Numbers of things take 32 bits where they fit, since there are millions of them."""

KEY_BITS = 63
"""Bits of the key by which half-chains are sorted around their nodes."""


@dataclass(frozen=True)
class Turns:
    """Half-chains sorted by the node that they leave, and counterclockwise around it.

    ``order`` holds half-chains, ``node`` the node of each; ``n_half_chains`` is their number.
    """

    order: Ints
    node: Ints
    n_half_chains: int

    @classmethod
    def of(
        cls, outlines: Outlines, first: Ints, n_edges: Ints, last: Ints, origin: Ints, n_nodes: int
    ) -> Turns:
        """Sort by the direction of the first edge; where that is close, exactly."""
        x, y = outlines.x, outlines.y
        second = np.where(n_edges > 1, first + 1, last)
        last_but_one = first + n_edges - 1
        dx = np.stack([x[second] - x[first], x[last_but_one] - x[last]], axis=1).reshape(-1)
        dy = np.stack([y[second] - y[first], y[last_but_one] - y[last]], axis=1).reshape(-1)
        angle_bits = min(KEY_BITS - max(n_nodes, 1).bit_length(), 50)
        turn = np.arctan2(dy, dx)
        turn += np.pi
        turn *= ((1 << angle_bits) - 1) / (2 * np.pi)
        key = turn.astype(np.int64)
        key += origin << angle_bits
        order = np.argsort(key)
        # Directions that the key can't tell apart, or only just.
        while True:
            close = np.flatnonzero(np.diff(key[order]) <= 2)
            one, other = order[close], order[close + 1]
            wrong = (dx[one] * dy[other] - dy[one] * dx[other] < 0) & (origin[one] == origin[other])
            if not wrong.any():
                break
            swap = close[wrong]
            swap = swap[np.diff(swap, prepend=-2) > 1]
            order[swap], order[swap + 1] = order[swap + 1], order[swap]
            key[order[swap]], key[order[swap + 1]] = key[order[swap + 1]], key[order[swap]]
        return cls(compact(order), compact(origin[order]), len(order))

    def among(self, chosen: NDArray[np.bool_]) -> Turns:
        """Only some of the half-chains."""
        kept = chosen[self.order]
        return Turns(self.order[kept], self.node[kept], self.n_half_chains)

    def following(self) -> Ints:
        """After a half-chain comes the one that is next clockwise at its end; -1 for those left out."""
        n = len(self.order)
        begins = np.ones(n, dtype=bool)
        begins[1:] = np.diff(self.node) != 0
        first = np.flatnonzero(begins)
        clockwise = np.arange(-1, n - 1)
        clockwise[first] = np.append(first[1:], n) - 1
        following = np.full(self.n_half_chains, -1, dtype=self.order.dtype)
        following[self.order ^ 1] = self.order[clockwise]
        return following


def compact(numbers: Ints) -> Ints:
    """Ints in 32 bits, if all of them fit."""
    narrow = numbers.max(initial=0) <= np.iinfo(np.int32).max
    return numbers.astype(np.int32 if narrow else np.int64, copy=False)


def numbered_cycles(following: Ints) -> Ints:
    """Number the cycles of a permutation; -1 where there is no next one."""
    n = len(following)
    walked = following >= 0
    starts = np.concatenate([[0], np.cumsum(walked)])
    targets = following[walked]
    links = csr_array((np.ones(len(targets), dtype=bool), targets, starts), shape=(n, n))
    _, cycle = connected_components(links, directed=True, connection="strong")
    if walked.all():
        return compact(cycle)
    numbers = np.full(n, -1, dtype=following.dtype)
    _, numbers[walked] = np.unique(cycle[walked], return_inverse=True)
    return numbers
