"""Raters weighed after summing: the same sums as from every item by itself, rating by rating."""

from __future__ import annotations

from collections import defaultdict
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from consensus.statistics.patterns import WeightedPatterns, compress
from consensus.statistics.rater_draws import RaterSums
from consensus.statistics.totals import Scheme, Totals, group_totals, item_features, rater_counts

N_CLASSES = 4
NEGATIVE = 3
APART = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0))) / 3


def item_by_item(
    codes: NDArray[np.int32], weight: NDArray[np.float64], times: list[int], scheme: Scheme
) -> dict[str, NDArray[np.float64]]:
    """Every sum by its definition, over all ratings and copies of ratings of each item."""
    sums: dict[str, Any] = defaultdict(lambda: np.zeros(N_CLASSES))
    for row, w in zip(codes, weight, strict=True):
        said = [
            (int(code), rater)
            for rater, code in enumerate(row)
            for _ in range(times[rater])
            if code >= 0
        ]
        for (a, who), (b, other) in permutations(said, 2):
            if who == other:
                continue
            sums["both"][a] += w * (a == b)
            sums["either"][a] += w
            sums["both_present"][0] += w * (a != NEGATIVE and b != NEGATIVE)
            sums["either_present"][0] += w * (a != NEGATIVE)
        placed = [one for one in said if one[0] != NEGATIVE or not scheme.placed_only]
        for a, _ in placed:
            sums["named"][a] += w / len(placed)
        sums["items_named"][0] += w * bool(placed)
        pairs = [(a, b) for (a, who), (b, other) in permutations(placed, 2) if who != other]
        if not pairs and scheme.placed_only:
            continue
        sums["items_rated"][0] += w * bool(placed)
        for a, _ in placed:
            sums["share"][a] += w / len(placed)
            sums["paired_ratings"][a] += w * bool(pairs)
        sums["items_paired"][0] += w * bool(pairs)
        for a, b in pairs:
            sums["disagree"][0] += w * APART[a, b] / len(pairs)
            sums["disagree_ratings"][0] += w * APART[a, b] / len(pairs) * len(placed)
            for c in range(N_CLASSES):
                sums["disagree_class"][c] += w * ((a == c) != (b == c)) / len(pairs)
    return sums


@settings(deadline=None, max_examples=150)
@given(st.data(), st.integers(3, 5), st.booleans(), st.booleans())
def test_sums_of_drawn_raters_are_those_of_their_ratings(
    data: st.DataObject, n_raters: int, placed_only: bool, areas: bool
) -> None:
    row = st.lists(st.integers(-1, N_CLASSES - 1), min_size=n_raters, max_size=n_raters)
    codes = np.array(data.draw(st.lists(row, min_size=1, max_size=8)), dtype=np.int32)
    times = data.draw(st.lists(st.integers(0, 3), min_size=n_raters, max_size=n_raters))
    assume(sum(count > 0 for count in times) >= 2)
    weight = np.ones(len(codes))
    if areas:
        weight = np.array(
            data.draw(st.lists(st.floats(0.1, 9), min_size=len(codes), max_size=len(codes)))
        )
    scheme = Scheme(APART, n_raters, NEGATIVE, placed_only, counts=not areas)
    patterns = compress(codes, N_CLASSES)
    amounts = patterns.totals(weight)
    everything = np.arange(len(amounts))
    one = WeightedPatterns(patterns.codes, np.zeros(1, int), 0 * everything, everything, amounts)
    rows = group_totals(scheme, one, item_features(scheme, rater_counts(patterns.codes, N_CLASSES)))
    raters = RaterSums(scheme, patterns.codes)
    sums = amounts @ raters.of_patterns()
    raters.resample(rows, sums[:, None], np.array([times], dtype=float))
    expected = item_by_item(codes, weight, times, scheme)
    found = Totals(scheme, rows)
    for name, shape in list(scheme.shapes.items())[:13]:
        wanted = expected[name] if shape else expected[name][0]
        assert found[name][0] == pytest.approx(wanted, abs=1e-9), name
        # a ratio over it is undefined only if it is exactly nothing
        assert not found[name][0][wanted == 0].any() or name == "disagree_class", name
