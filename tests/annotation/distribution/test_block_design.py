"""Blocks are as even as they can be: by property, by exhaustion, and where a design is known."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, combinations_with_replacement

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.distribution.block_design import BlockDesign, balanced_blocks


def squares(design: BlockDesign) -> int:
    return sum(count**2 for count in design.pair_counts().values())


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[int], int, int, int]:
    raters = draw(st.integers(1, 7))
    return (
        draw(st.lists(st.integers(0, 4), min_size=1, max_size=24)),
        raters,
        draw(st.integers(1, raters)),
        draw(st.integers(0, 1000)),
    )


@settings(max_examples=20)
@given(studies())
def test_every_slide_has_its_raters_and_loads_are_even_overall_and_in_each_site(
    study: tuple[list[int], int, int, int],
) -> None:
    sites, n_raters, k, seed = study
    design = balanced_blocks(sites, n_raters, k, seed)
    assert len(design.blocks) == len(sites)
    assert all(
        len(set(block)) == k and set(block) <= set(range(n_raters)) for block in design.blocks
    )
    loads = design.loads()
    assert max(loads) - min(loads) <= 1
    for site in set(sites):
        of_site = Counter(
            rater
            for block, where in zip(design.blocks, sites, strict=True)
            if where == site
            for rater in block
        )
        counts = [of_site[rater] for rater in range(n_raters)]
        assert max(counts) - min(counts) <= 1
    assert sum(design.pair_counts().values()) == len(sites) * k * (k - 1) // 2
    assert design == balanced_blocks(sites, n_raters, k, seed)


def test_another_seed_gives_another_design() -> None:
    sites = [0] * 20
    assert balanced_blocks(sites, 6, 3, 1).blocks != balanced_blocks(sites, 6, 3, 2).blocks


@pytest.mark.parametrize(
    ("raters", "slides", "k", "shared"),
    [
        (7, 7, 3, 1),  # the Fano plane
        (6, 10, 3, 2),
        (9, 12, 3, 1),  # the affine plane of order 3
        (13, 13, 4, 1),  # the projective plane of order 3
        (11, 11, 5, 2),  # the Paley biplane
        (8, 14, 4, 3),
        (10, 15, 4, 2),
        (15, 35, 3, 1),  # Kirkman's schoolgirls
        (5, 5, 5, 5),
    ],
)
def test_where_a_balanced_design_exists_all_pairs_are_equal(
    raters: int, slides: int, k: int, shared: int
) -> None:
    design = balanced_blocks([0] * slides, raters, k, seed=0)
    assert set(design.pair_counts().values()) == {shared}
    assert design.proven
    assert design.remark() == f"every two raters share {shared} slide{'s' if shared > 1 else ''}"


def least_by_exhaustion(n_raters: int, n_slides: int, k: int) -> int:
    """The least sum of squared pair counts among all designs with even loads."""
    best = None
    blocks = list(combinations(range(n_raters), k))
    for chosen in combinations_with_replacement(blocks, n_slides):
        loads = Counter(rater for block in chosen for rater in block)
        each = [loads[rater] for rater in range(n_raters)]
        if max(each) - min(each) > 1:
            continue
        shared = Counter(pair for block in chosen for pair in combinations(block, 2))
        cost = sum(count**2 for count in shared.values())
        best = cost if best is None else min(best, cost)
    assert best is not None
    return best


@pytest.mark.parametrize(
    ("raters", "slides", "k"),
    [
        (4, 1, 2),
        (4, 3, 2),
        (4, 5, 2),
        (5, 3, 2),
        (5, 4, 3),
        (5, 5, 3),
        (6, 4, 3),
        (6, 3, 4),
        (4, 6, 3),
    ],
)
def test_small_designs_are_as_even_as_the_best_of_all(raters: int, slides: int, k: int) -> None:
    found = balanced_blocks([0] * slides, raters, k, seed=3)
    assert squares(found) == least_by_exhaustion(raters, slides, k)


@settings(max_examples=30)
@given(studies())
def test_what_is_called_proven_is_the_bound_of_counting(
    study: tuple[list[int], int, int, int],
) -> None:
    sites, n_raters, k, seed = study
    design = balanced_blocks(sites, n_raters, k, seed)
    counts = design.pair_counts()
    if counts and max(counts.values()) - min(counts.values()) <= 1:
        assert design.proven


@pytest.mark.parametrize(
    ("raters", "slides", "k", "why"),
    [
        (4, 3, 2, "don't divide"),
        (6, 20, 2, "don't divide"),
        (7, 3, 2, "don't divide"),
        (5, 2, 3, "don't divide"),
        (4, 2, 3, "not all raters have as many slides"),
        (8, 4, 2, "don't divide"),
        (16, 8, 6, "Fisher"),
    ],
)
def test_what_stands_in_the_way_of_equal_pairs_is_told(
    raters: int, slides: int, k: int, why: str
) -> None:
    assert why in balanced_blocks([0] * slides, raters, k, seed=0).remark()


def test_one_rater_makes_no_pair() -> None:
    design = balanced_blocks([0, 1], 1, 1, seed=0)
    assert (design.blocks, design.remark()) == (((0,), (0,)), "one rater makes no pair")


@pytest.mark.parametrize("k", [0, 4])
def test_numbers_that_do_not_fit_are_refused(k: int) -> None:
    with pytest.raises(ValueError, match="of 3 raters"):
        balanced_blocks([0], 3, k, seed=0)
