"""Compression of items to distinct label patterns."""

from __future__ import annotations

import numpy as np
import pytest

from consensus.statistics.patterns import compress


@pytest.mark.parametrize(("n_raters", "n_classes"), [(1, 2), (5, 6), (40, 9)])
def test_patterns_give_the_codes_back_and_are_distinct(n_raters: int, n_classes: int) -> None:
    rng = np.random.default_rng(1)
    few = rng.integers(-1, n_classes, (30, n_raters))
    codes = few[rng.integers(0, 30, 500)].astype(np.int32)
    patterns = compress(codes, n_classes)
    assert (patterns.codes[patterns.of_item] == codes).all()
    assert len(np.unique(codes, axis=0)) == len(patterns.codes)


def test_weights_by_group_add_up_and_leave_out_what_weighs_nothing() -> None:
    codes = np.array([[0, 1], [0, 1], [1, 1], [0, 1]], dtype=np.int32)
    weight = np.array([1.0, 2.0, 4.0, 0.0])
    held = compress(codes, 2).by_group(np.array([7, 7, 3, 9]), weight)
    assert held.groups.tolist() == [3, 7]
    assert held.codes[held.pattern].tolist() == [[1, 1], [0, 1]]
    assert held.weight.tolist() == [4.0, 3.0]


def test_no_items_have_no_patterns() -> None:
    assert len(compress(np.zeros((0, 3), dtype=np.int32), 2).codes) == 0
