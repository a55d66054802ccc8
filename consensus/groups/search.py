"""Components too large for an exact answer: a search among their groupings.

Nothing here is drawn by chance, and the order of raters plays no part: the result is a function of
the graph and of the order of its nodes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consensus.groups.similarity import UNIT
from consensus.groups.similarity_graph import SimilarityGraph

__all__ = ["search"]

ROUNDS = 100
"""Sweeps after which improving ends; it nearly always ends by itself within ten."""


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
    the surplus of each node's edges, ``size`` its objects; ``members``, ``bits`` and ``count``
    are the nodes, raters and objects of each group. ``stale`` are nodes near which something has
    changed since they were last given a place, ``changed`` groups that have since the last join.
    """

    def __init__(self, graph: SimilarityGraph) -> None:
        n_nodes = len(graph.raters)
        self.near: list[dict[int, int]] = [{} for _ in range(n_nodes)]
        edges = graph.one.tolist(), graph.other.tolist(), graph.surplus.tolist()
        for u, v, surplus in zip(*edges, strict=True):
            self.near[u][v] = self.near[v][u] = surplus
        self.raters = [int.from_bytes(row) for row in np.packbits(graph.raters, axis=1)]
        self.size: list[int] = graph.size.tolist()
        self.of = list(range(n_nodes))
        self.members: dict[int, set[int]] = {node: {node} for node in range(n_nodes)}
        self.bits = dict(enumerate(self.raters))
        self.count = dict(enumerate(self.size))
        self.fresh = n_nodes
        self.stale = set(range(n_nodes))
        self.changed = set(range(n_nodes))

    def join(self, edges: list[tuple[int, int]]) -> bool:
        """Merge the groups at both ends of each edge where that adds weight."""
        of, bits, count, near = self.of, self.bits, self.count, self.near
        changed, self.changed = self.changed, set()
        for u, v in edges:
            a, b = of[u], of[v]
            if a == b or bits[a] & bits[b] or not (a in changed or b in changed):
                continue
            one, other = self.members[a], self.members[b]
            gain = -UNIT * count[a] * count[b]
            for node in other:
                near_node = near[node]
                gain += sum([near_node.get(each, 0) for each in one])
            if gain <= 0:
                continue
            for node in other:
                of[node] = a
            one |= self.members.pop(b)
            bits[a] |= bits.pop(b)
            count[a] += count.pop(b)
            changed.add(a)
            self._disturb(a)
        return bool(self.changed)

    def move(self) -> bool:
        """Give each node the place that adds most, in exchange for another node if need be."""
        changed = False
        for node in range(len(self.of)):
            if node not in self.stale:
                continue
            self.stale.discard(node)
            own, size = self.of[node], self.size[node]
            surplus = self._surplus(node)
            loss = surplus.pop(own, 0) - UNIT * size * (self.count[own] - size)
            best, place, out = -loss, -1, -1  # alone
            for group, total in surplus.items():
                gain, other = total - UNIT * size * self.count[group] - loss, -1
                if self.bits[group] & self.raters[node]:
                    barred = self._barred(node, group)
                    if len(barred) > 1:
                        continue
                    other = barred[0]
                    gain += UNIT * size * self.size[other] - self._inside(other)
                    gain += max(0, self._instead(other, node))
                if gain > best or (gain == best and place >= 0 and self._before(group, place)):
                    best, place, out = gain, group, other
            if best <= 0:
                continue
            changed = True
            follows = out >= 0 and self._instead(out, node) > 0
            self._take(node)
            if out >= 0:
                self._take(out)
                self._put(out, own if follows else -1)
            self._put(node, place)
        return changed

    def _surplus(self, node: int) -> dict[int, int]:
        """Surplus between a node and each group that it has edges to."""
        of, found = self.of, dict[int, int]()
        for other, surplus in self.near[node].items():
            group = of[other]
            found[group] = found.get(group, 0) + surplus
        return found

    def _barred(self, node: int, group: int) -> list[int]:
        """Members of a group that have a rater in common with a node; no edge leads to them."""
        raters, own = self.raters, self.raters[node]
        return [other for other in self.members[group] if raters[other] & own]

    def _inside(self, node: int) -> int:
        """Weight between a node and the rest of its group."""
        near, size, own = self.near[node], self.size[node], self.of[node]
        gain: int = sum([near.get(other, 0) for other in self.members[own]])
        gain -= UNIT * size * (self.count[own] - size)
        return gain

    def _instead(self, other: int, node: int) -> int:
        """Weight between one node and another's group if it took that node's place there; 0 if barred."""
        own, size = self.of[node], self.size[other]
        if self.raters[other] & self.bits[own] & ~self.raters[node]:
            return 0
        near = self.near[other]
        gain: int = sum([near.get(each, 0) for each in self.members[own]])
        gain -= UNIT * size * (self.count[own] - self.size[node])
        return gain

    def _before(self, group: int, other: int) -> bool:
        return min(self.members[group]) < min(self.members[other])

    def _take(self, node: int) -> None:
        """Take a node out of its group, which ends if it was alone."""
        own = self.of[node]
        self.members[own].discard(node)
        if not self.members[own]:
            del self.members[own], self.bits[own], self.count[own]
            return
        self.bits[own] &= ~self.raters[node]
        self.count[own] -= self.size[node]
        self._disturb(own)

    def _put(self, node: int, group: int) -> None:
        """Put a node into a group, or for -1 into one of its own."""
        if group < 0:
            group, self.fresh = self.fresh, self.fresh + 1
            self.members[group], self.bits[group], self.count[group] = set(), 0, 0
        self.members[group].add(node)
        self.bits[group] |= self.raters[node]
        self.count[group] += self.size[node]
        self.of[node] = group
        self._disturb(group)

    def _disturb(self, group: int) -> None:
        """Note that a group has changed: its members and what is near them may want to move."""
        self.changed.add(group)
        if len(self.stale) == len(self.of):
            return
        for node in self.members[group]:
            self.stale.add(node)
            self.stale.update(self.near[node])
