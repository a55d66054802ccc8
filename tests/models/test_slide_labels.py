"""A slide's label out of its regions: by hand, by brute force, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.errors import InputError
from consensus.consensus_items import ResolvedItem
from models.labels.slide_labels import SlideLabel, SlideLabeller, SlideLabelRule

CLASSES = ("G3", "Inflammation", "G4", "G5", "background")
RANKS = (0.0, math.nan, 1.0, 2.0, math.nan)
RATERS = ("P1", "P2")
SHAPE = shapely.box(0, 0, 1, 1)


def face(
    area_um2: float, posterior: dict[str, float], label: str | None = None, state: str = "",
    **said: str,
) -> ResolvedItem:  # fmt: skip
    return ResolvedItem(
        item="i", name="i", weight=area_um2, pattern=said, label=label, geometry=SHAPE,
        state=state or ("agreed" if label else "disputed"),
        posterior=tuple(posterior.get(name, 0.0) for name in CLASSES),
    )  # fmt: skip


def sure(area_um2: float, label: str, **more: str) -> ResolvedItem:
    return face(area_um2, {label: 1.0}, label, **more)


def labelled(items: list[ResolvedItem], rule: str = "worst", least: float = 0.0) -> SlideLabel:
    made = SlideLabelRule(rule=rule, least_um2=least)  # type: ignore[arg-type]
    return SlideLabeller(made, CLASSES, RATERS, RANKS, "background").label(items)


def named(found: SlideLabel) -> str | None:
    return None if found.hard < 0 else CLASSES[found.hard]


def test_the_worst_class_needs_its_area_together_with_those_above() -> None:
    """500 um2 of G5 and 600 of G4 are 1,100 of G4 or worse; inflammation has no order."""
    items = [sure(9e6, "background"), sure(8e3, "G3"), sure(600, "G4"), sure(500, "G5"),
             sure(4e6, "Inflammation")]  # fmt: skip
    assert [named(labelled(items, least=x)) for x in (0, 500, 1000, 5000, 1e5)] == [
        "G5", "G5", "G4", "G3", "background",
    ]  # fmt: skip
    assert named(labelled(items, "largest")) == "Inflammation"
    assert named(labelled(items[:1], "largest")) == "background"
    empty = labelled([])
    assert (empty.hard, empty.posterior.tolist()) == (-1, [0.0] * 5)


def test_the_posterior_is_that_of_faces_that_err_together() -> None:
    """By hand: 1,000 um2 are G4 or worse up to u = 0.7, and G5 up to u = 0.2."""
    items = [
        face(800, {"G4": 0.6, "G5": 0.3, "G3": 0.1}, "G4"),
        face(700, {"G3": 0.3, "G4": 0.5, "G5": 0.2}, "G4"),
        sure(5000, "background"),
    ]
    found = labelled(items, least=1000)
    expected = {"G5": 0.2, "G4": 0.5, "G3": 0.3}
    assert dict(zip(CLASSES, found.posterior, strict=True)) == pytest.approx(
        {name: expected.get(name, 0.0) for name in CLASSES}
    )
    assert named(found) == "G4"
    many = [face(10, {"G4": 0.5, "G3": 0.5}, "G3") for _ in range(500)]
    assert labelled(many).posterior.tolist() == pytest.approx([0.5, 0, 0.5, 0, 0])


def test_the_largest_is_soft_by_expected_area() -> None:
    """Of the findings alone, however much background there is."""
    items = [face(300, {"G3": 0.5, "G4": 0.5}, "G3"), sure(100, "G5"), sure(9e9, "background")]
    found = labelled(items, "largest")
    assert named(found) == "G3"
    assert found.posterior.tolist() == pytest.approx([0.375, 0, 0.375, 0.25, 0])


def test_what_is_open_leaves_the_label_open_only_where_it_could_change_it() -> None:
    """An open region that may be worse, or that may become the largest; what was excluded never."""
    decided = [sure(2000, "G4"), sure(900, "G3")]
    small, mild = face(50, {"G5": 0.5, "G4": 0.5}), face(5000, {"G3": 0.5, "G4": 0.5})
    worse = face(5000, {"G4": 0.9, "G5": 0.1})
    assert named(labelled([*decided, small], least=100)) == "G4"
    assert named(labelled([*decided, mild], least=100)) == "G4"
    assert named(labelled([*decided, worse], least=100)) is None
    assert named(labelled([*decided, small], "largest")) == "G4"
    assert named(labelled([*decided, mild], "largest")) is None
    for state in ("excluded", "indeterminate"):
        gone = face(5000, {"G5": 1.0}, state=state)
        assert named(labelled([*decided, gone], least=100)) == "G4"


def test_each_rater_has_a_label_and_an_answer_that_decided_it_is_told() -> None:
    """By the same rule on what this one said; -1 where nothing was rated."""
    items = [sure(500, "G3", P1="G5"), sure(900, "background", P1="background")]
    assert labelled(items).votes.tolist() == [CLASSES.index("G5"), -1]
    answered = sure(300, "G5", state="adjudicated")
    assert labelled([*items, answered]).decided
    assert not labelled([*items, answered, sure(300, "G5")]).decided


@given(seed=st.integers(0, 10_000), least=st.sampled_from([0.0, 5.0, 40.0]))
@settings(max_examples=60, deadline=None)
def test_posteriors_are_distributions_and_those_of_the_levels(seed: int, least: float) -> None:
    """By brute force over all levels u; where faces are sure, all is on the label."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([0.6] * 5, 6)
    area = rng.integers(1, 20, 6).astype(float)
    items = [
        face(a, dict(zip(CLASSES, row, strict=True)), CLASSES[row.argmax()])
        for a, row in zip(area, p, strict=True)
    ]
    found = labelled(items, least=least).posterior
    assert found.sum() == pytest.approx(1)
    assert found.min() >= 0
    order = [0, 2, 3]
    for step in range(3):
        worse = p[:, order[step:]].sum(axis=1)
        levels = [u for u in worse if area[worse >= u - 1e-12].sum() >= max(least, 1e-9)]
        assert found[order[step:]].sum() == pytest.approx(max(levels, default=0.0))
    certain = [sure(a, CLASSES[row.argmax()]) for a, row in zip(area, p, strict=True)]
    for rule, x in (("worst", least), ("largest", 0.0)):
        one = labelled(certain, rule, x)
        assert one.posterior.sum() == pytest.approx(1)
        if rule == "worst":
            assert one.posterior[one.hard] == pytest.approx(1)


def test_what_is_no_rule_is_refused() -> None:
    """In one line each."""
    for rule, least, told in (
        ("best", 0.0, "can be largest or worst, not 'best'"),
        ("worst", -1.0, "an area of -1 um2 can't be"),
        ("worst", math.inf, "an area of inf um2"),
        ("largest", 5.0, "needs no least area"),
    ):
        with pytest.raises(InputError, match=told):
            SlideLabelRule(rule=rule, least_um2=least)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="slide_label is no rule"):
        SlideLabelRule.from_dict({"rule": "worst", "least_um2": "many"})
    rule = SlideLabelRule(rule="worst")
    assert SlideLabelRule.from_dict(rule.to_dict()) == rule
    with pytest.raises(InputError, match="no two classes of the release are ordered"):
        SlideLabeller(rule, ("A", "B"), (), (math.nan, 0.0), None)
