"""Memory over many slides is flat."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.flat_memory import GROWTH, at_slide, memory_curve


@pytest.mark.parametrize(
    ("slides", "first"), [(30, 15), pytest.param(300, 30, marks=pytest.mark.soak)]
)
def test_a_worker_needs_no_more_memory_for_the_last_slide_than_for_an_early_one(
    tmp_path: Path, slides: int, first: int
) -> None:
    curve = memory_curve(tmp_path, slides)
    last = curve[max(curve)]
    assert max(curve) > 0.8 * slides
    assert last <= (1 + GROWTH) * at_slide(curve, first)
