"""What the objects in an adjudicator's project answer: read without QuPath."""

from __future__ import annotations

from typing import Any

import pytest
import shapely

from annotation.records import PathObject
from consensus.adjudicating.answers import DESCRIPTION, Answer, Answered, answered
from consensus.queue.adjudication_queue import QueueEntry

SLIDES = {"A": (1000, 800), "B": (600, 500)}
PLACES = {1: ("A", shapely.box(10, 10, 110, 110)), 2: ("A", shapely.box(300, 300, 340, 340)), 3: ("B", None)}  # fmt: skip
CLASSES = {
    "Benign": ("class", "Benign"),
    "Tumor": ("class", "Tumor"),
    "pathquorum: exclude": ("exclude", None),
}


def entry(number: int, state: str = "open", path_class: str | None = None) -> QueueEntry:
    slide, geometry = PLACES[number]
    return QueueEntry(
        dispute=number, region=number, run=1, slide=slide, weight=1.0, weight_unit="um2", severity=1.0,
        entropy=0.5, labels={"rater A": "Benign"}, state=state,
        answer=None if state == "open" else "class", path_class=path_class, decided_by=None,
        reason=None, reopened_because=None, geometry=geometry,
    )  # fmt: skip


ENTRIES = {number: entry(number) for number in PLACES}


def thing(
    geometry: Any, path_class: str | None = None, description: str | None = None
) -> PathObject:
    extra = {"metadata": {DESCRIPTION: description}} if description else {}
    return PathObject(None, "annotation", path_class, None, False, geometry, extra=extra)


def disputes(**classes: str | None) -> dict[int, PathObject]:
    """The dispute objects as opened, with classes by ``d1`` to ``d3``."""
    return {
        n: thing(geometry if geometry is not None else shapely.box(0, 0, 600, 500), classes.get(f"d{n}"))
        for n, (_, geometry) in PLACES.items()
    }  # fmt: skip


def read(
    objects: dict[int, PathObject], *drawn: tuple[str, PathObject], reason: str = ""
) -> Answered:
    return answered(ENTRIES, objects, drawn, SLIDES, classes=CLASSES, reason=reason)


def whys(result: Answered) -> dict[int | None, str]:
    return {one.dispute: one.why for one in result.unfinished}


def test_a_class_answers_and_a_description_is_the_reason() -> None:
    objects = disputes(d1="Benign", d2="pathquorum: exclude")
    objects[1].extra["metadata"] = {DESCRIPTION: "  glands intact "}
    result = read(objects, reason="for all")
    assert result.answers == {
        1: Answer("class", "Benign", "glands intact"),
        2: Answer("exclude", None, "for all"),
    }
    assert result.unfinished == []


def test_what_is_drawn_answers_by_the_stored_outline_not_by_the_one_in_the_project() -> None:
    objects = disputes()
    corner = shapely.box(10, 10, 30, 30)
    objects[1].geometry = corner
    result = read(objects, ("A", thing(corner, "Tumor", "r")))
    assert result.answers == {}
    assert "covers no dispute by more than half" in whys(result)[None]
    assert result.notes == ["the outline of dispute 1 was changed, which decides nothing"]
    whole = read(objects, ("A", thing(shapely.box(10, 10, 110, 62), "Tumor", "r")))
    assert whole.answers[1].path_class == "Tumor"


def test_a_dispute_about_a_whole_slide_is_answered_by_more_than_half_of_it() -> None:
    half = shapely.box(0, 0, 600, 250)
    assert read(disputes(), ("B", thing(half, "Tumor", "r"))).answers == {}
    more = shapely.box(0, 0, 600, 251)
    assert set(read(disputes(), ("B", thing(more, "Tumor", "r"))).answers) == {3}


def test_what_is_drawn_on_another_slide_answers_nothing_here() -> None:
    result = read(disputes(), ("B", thing(PLACES[1][1], "Tumor", "r")))
    assert result.answers == {}


def test_all_reasons_and_all_outlines_that_were_given_are_kept() -> None:
    """The dispute's object says the class without a word, and two drawn ones say why."""
    one, other = shapely.box(10, 10, 110, 90), shapely.box(10, 30, 110, 110)
    result = read(
        disputes(d1="Tumor"),
        ("A", thing(one, "Tumor", "invades")),
        ("A", thing(other, "Tumor", "necrosis")),
        reason="for all",
    )
    answer = result.answers[1]
    assert (answer.path_class, answer.reason) == ("Tumor", "invades; necrosis")
    assert [shapely.from_wkt(text).equals(g) for text, g in zip(answer.drawn, (one, other), strict=True)] == [True, True]  # fmt: skip


@pytest.mark.parametrize(
    ("objects", "drawn", "number", "said"),
    [
        (disputes(d1="Bening"), [], 1, "class 'Bening', which is no answer"),
        (disputes(d1="Benign"), [], 1, "has no reason"),
        (disputes(d1="Benign"), [("A", thing(PLACES[1][1], "Tumor", "r"))], 1, "two answers in the project, Benign and Tumor"),
        (disputes(), [("A", thing(PLACES[1][1], None))], 1, "has no class"),
        (disputes(), [("A", thing(PLACES[2][1], "Stroma", "r"))], 2, "no answer"),
        (disputes(), [("A", thing(shapely.box(0, 0, 5, 5), "Tumor", "r"))], None, "covers no dispute"),
    ],
)  # fmt: skip
def test_what_is_unfinished_is_named_and_the_others_are_answered(
    objects: dict[int, PathObject],
    drawn: list[tuple[str, PathObject]],
    number: int | None,
    said: str,
) -> None:
    objects = {**objects, 3: thing(objects[3].geometry, "Tumor", "seen")}
    result = read(objects, *drawn)
    assert set(result.answers) == {3}
    assert list(whys(result)) == [number]
    assert said in whys(result)[number]


def test_a_decided_dispute_needs_no_reason() -> None:
    entries = {**ENTRIES, 1: entry(1, "decided", "Benign")}
    result = answered(entries, disputes(d1="Benign"), [], SLIDES, classes=CLASSES, reason="")
    assert result.answers[1].label == "Benign"
    assert result.unfinished == []
