"""Masks tell nothing and come again with the seed; each reader has an order of their own."""

from __future__ import annotations

import re
from dataclasses import replace

from annotation.distribution.masking import SlideMask

MASK = SlideMask("salt", seed=5, annotator=1, protocol=1, replicate=1)
SLIDES = list(range(1, 31))


def names(mask: SlideMask) -> list[str]:
    taken: set[str] = set()
    for slide in SLIDES:
        taken.add(mask.name(slide, taken))
    return sorted(taken)


def test_the_same_seed_gives_the_same_names_and_order_again() -> None:
    assert names(MASK) == names(replace(MASK))
    assert MASK.shuffled(SLIDES) == MASK.shuffled(SLIDES[::-1])


def test_order_and_names_are_each_readers_seeds_stores_and_replicates_own() -> None:
    others = [
        replace(MASK, **change)
        for change in ({"salt": "x"}, {"seed": 6}, {"annotator": 2}, {"replicate": 2})
    ]
    for other in others:
        assert other.shuffled(SLIDES) != MASK.shuffled(SLIDES)
        assert sorted(other.shuffled(SLIDES)) == SLIDES
        assert not set(names(other)) & set(names(MASK))


def test_a_name_that_is_taken_is_not_given_again() -> None:
    first = MASK.name(1, ())
    second = MASK.name(1, {first})
    assert first != second != MASK.name(1, {first, second})
    assert re.fullmatch(r"[2-9B-DF-HJ-NP-TV-XZ]{3}-[2-9B-DF-HJ-NP-TV-XZ]{3}", first)
