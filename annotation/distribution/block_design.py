"""Balanced incomplete blocks: which raters read which slide, as evenly as can be.

Each slide is a block of ``k`` raters. Two things hold always: within every site, and over all, two
raters read numbers of slides that differ by at most one. Under these the numbers of slides that two
raters both read are made as equal as a seeded search finds.

References
----------
Bose (1939), doi:10.1111/j.1469-1809.1939.tb02219.x, on designs in which all pairs are equal.
Kirkpatrick et al. (1983), doi:10.1126/science.220.4598.671, on the search.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

__all__ = ["BlockDesign", "balanced_blocks"]

_RESTARTS: Final = 12
_MOVES: Final = 20_000  # of one search; it ends sooner where nothing better can exist
_HOT, _COLD = 3.0, 0.2  # temperatures, in squared slides

Pair = tuple[int, int]


@dataclass(frozen=True)
class BlockDesign:
    """Who reads what: of each slide its raters, in ascending order.

    ``proven`` says that the pairs cannot be more equal than they are.
    """

    n_raters: int
    raters_per_slide: int
    sites: tuple[int, ...]
    blocks: tuple[tuple[int, ...], ...]
    proven: bool

    def loads(self) -> list[int]:
        """Slides of each rater."""
        return [sum(rater in block for block in self.blocks) for rater in range(self.n_raters)]

    def pair_counts(self) -> dict[Pair, int]:
        """Slides that every two raters both read."""
        counts = dict.fromkeys(combinations(range(self.n_raters), 2), 0)
        for block in self.blocks:
            for pair in combinations(block, 2):
                counts[pair] += 1
        return counts

    def remark(self) -> str:
        """In one sentence, how equal the pairs are, and what stands in the way of more."""
        counts = self.pair_counts()
        if not counts:
            return "one rater makes no pair"
        low, high = min(counts.values()), max(counts.values())
        if low == high:
            return f"every two raters share {_slides(low)}"
        total, pairs = sum(counts.values()), len(counts)
        told = f"two raters share {low} to {_slides(high)}"
        if total % pairs:
            why = f"{total} shared reads don't divide by {pairs} pairs"
        elif len(set(self.loads())) > 1:
            why = "not all raters have as many slides"
        elif len(self.blocks) < self.n_raters:
            why = "with fewer slides than raters pairs are never equal (Fisher's inequality)"
        else:
            why = "the search found no arrangement with equal pairs"
        if not self.proven and high - low > 1:
            why += f"; the best of {_RESTARTS} searches"
        return f"{told}: {why}"


def _slides(count: int) -> str:
    return f"{count} slide{'' if count == 1 else 's'}"


def balanced_blocks(
    sites: Sequence[int], n_raters: int, raters_per_slide: int, seed: int
) -> BlockDesign:
    """Give each slide its raters.

    Parameters
    ----------
    sites
        Of each slide the number of its site.
    n_raters, raters_per_slide
        At least as many raters as each slide takes, which is at least one.
    seed
        The same seed gives the same blocks.
    """
    if not 1 <= raters_per_slide <= n_raters:
        raise ValueError(f"{raters_per_slide} of {n_raters} raters cannot read a slide")
    rng = random.Random(seed)  # noqa: S311 - a design, no secret
    best = min(_searches(sites, n_raters, raters_per_slide, rng), key=lambda found: found.lowest)
    return BlockDesign(
        n_raters,
        raters_per_slide,
        tuple(sites),
        tuple(tuple(sorted(block)) for block in best.best),
        proven=best.lowest <= best.bound,
    )


def _searches(sites: Sequence[int], n_raters: int, k: int, rng: random.Random) -> Iterator[_Search]:
    """Searches, until one finds what cannot be better."""
    for attempt in range(_RESTARTS):
        search = _Search(sites, n_raters, k, rng)
        search.run(hot=attempt > 0)
        yield search
        if search.lowest <= search.bound:
            return


class _Search:
    """Blocks that are changed a little at a time, keeping loads even, until pairs are as well.

    What is minimised is the sum of the squared numbers of slides that pairs share. Their total is
    fixed, so it is least where they are most equal.
    """

    def __init__(self, sites: Sequence[int], n_raters: int, k: int, rng: random.Random) -> None:
        self._sites, self._n, self._rng = sites, n_raters, rng
        members: dict[int, list[int]] = {}
        for slide, site in enumerate(sites):
            members.setdefault(site, []).append(slide)
        self._shared = [[0] * n_raters for _ in range(n_raters)]
        self._blocks: list[set[int]] = [set() for _ in sites]
        self._load = {site: [0] * n_raters for site in members}
        # Whose turn it is to read one more goes round from site to site, so all come out even.
        turns = rng.sample(range(n_raters), n_raters)
        for site, slides in members.items():
            each, extra = divmod(len(slides) * k, n_raters)
            turns = turns[extra:] + turns[:extra]
            left = [each] * n_raters
            for rater in turns[n_raters - extra :]:
                left[rater] += 1
            self._load[site] = list(left)
            for slide in rng.sample(slides, len(slides)):
                self._fill(slide, left, k)
        self._total = [
            sum(load[rater] for load in self._load.values()) for rater in range(n_raters)
        ]
        self.lowest = self._cost = self._squares()
        self.bound = self._least(k)
        self.best = [set(block) for block in self._blocks]

    def _fill(self, slide: int, left: list[int], k: int) -> None:
        """A slide's raters: those with most left to read, and of these who share least."""
        block = self._blocks[slide]
        for _ in range(k):
            rater = min(
                (r for r in range(self._n) if r not in block),
                key=lambda r: (
                    -left[r],
                    sum(self._shared[r][m] for m in block),
                    self._rng.random(),
                ),
            )
            for member in block:
                self._share(rater, member, 1)
            block.add(rater)
            left[rater] -= 1

    def _share(self, a: int, b: int, change: int) -> None:
        self._shared[a][b] += change
        self._shared[b][a] += change

    def _squares(self) -> int:
        return sum(self._shared[a][b] ** 2 for a, b in combinations(range(self._n), 2))

    def _least(self, k: int) -> int:
        """What the sum of squares cannot fall below: over all pairs, and rater by rater."""
        n_pairs = math.comb(self._n, 2)
        overall = _spread_squares(sum(map(sum, self._shared)) // 2, n_pairs)
        # Who heads a longer list may change, how many do may not.
        rows = sum(_spread_squares(load * (k - 1), self._n - 1) for load in self._total)
        return max(overall, -(-rows // 2))

    def run(self, *, hot: bool) -> None:
        """Search; ``hot`` begins by taking turns for the worse as well, the other never does."""
        cooling = (_COLD / _HOT) ** (1 / _MOVES)
        temperature = _HOT if hot else _COLD
        for _ in range(_MOVES):
            if self.lowest <= self.bound:
                return
            self._step(temperature)
            temperature = max(_COLD, temperature * cooling)

    def _step(self, temperature: float) -> None:
        """Try to let two raters change places, on two slides or on one."""
        rng = self._rng
        i = rng.randrange(len(self._blocks))
        j = rng.randrange(len(self._blocks))
        other = self._blocks[j] if i != j else set(range(self._n))
        leaving, coming = self._blocks[i] - other, other - self._blocks[i]
        if i == j:
            leaving = self._blocks[i]
        if not leaving or not coming:
            return
        a, b = rng.choice(sorted(leaving)), rng.choice(sorted(coming))
        if not self._stays_even(a, b, self._sites[i], None if i == j else self._sites[j]):
            return
        change = self._exchange(i, a, b)
        if i != j:
            change += self._exchange(j, b, a)
        if change > 0 and rng.random() >= math.exp(-change / temperature):
            self._exchange(i, b, a)
            if i != j:
                self._exchange(j, a, b)
            return
        self._cost += change
        self._move_load(a, b, self._sites[i])
        if i != j:
            self._move_load(b, a, self._sites[j])
        if self._cost < self.lowest:
            self.lowest = self._cost
            self.best = [set(block) for block in self._blocks]

    def _stays_even(self, a: int, b: int, site: int, other: int | None) -> bool:
        """Whether loads still differ by one at most if ``b`` reads for ``a``, and back elsewhere."""
        if site == other:
            return True
        load = self._load[site]
        if load[a] != load[b] + 1:
            return False
        if other is None:
            return self._total[a] == self._total[b] + 1
        return self._load[other][b] == self._load[other][a] + 1

    def _move_load(self, a: int, b: int, site: int) -> None:
        for load in (self._load[site], self._total):
            load[a] -= 1
            load[b] += 1

    def _exchange(self, slide: int, a: int, b: int) -> int:
        """Put ``b`` in the place of ``a``; returns how the sum of squares changes."""
        block = self._blocks[slide]
        block.remove(a)
        change = 0
        for member in block:
            change += 2 * (self._shared[b][member] - self._shared[a][member]) + 2
            self._share(a, member, -1)
            self._share(b, member, 1)
        block.add(b)
        return change


def _spread_squares(total: int, places: int) -> int:
    """The least sum of squares of so many whole numbers with this total."""
    if places < 1:
        return 0
    each, extra = divmod(total, places)
    return extra * (each + 1) ** 2 + (places - extra) * each**2
