"""What the objects in an adjudicator's project answer, dispute by dispute.

A dispute is answered by its object's class, by annotations drawn over more than half of it, or by
both where they agree. What counts is the dispute as it is on record: an outline that was moved or
cut in QuPath changes nothing of what is asked. All that is half done is found, not the first alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import shapely

from annotation.records import PathObject
from consensus.queue.adjudication_queue import QueueEntry

__all__ = ["ANSWER_CLASSES", "DESCRIPTION", "Answer", "Answered", "Unfinished", "answered"]

ANSWER_CLASSES = {
    "pathquorum: indeterminate": "indeterminate",
    "pathquorum: exclude": "exclude",
}
"""Classes that answer a dispute without being one of the protocol's."""

DESCRIPTION = "ANNOTATION_DESCRIPTION"
"""QuPath keeps an annotation's description under this key of its metadata."""

COVERED = 0.5
"""A drawn annotation answers a dispute of which it covers more than this share."""

MOVED_PX = 1.0


@dataclass(frozen=True)
class Answer:
    """What was answered for one dispute; ``drawn`` holds outlines as WKT in level-0 pixels."""

    answer: str
    path_class: str | None
    reason: str
    drawn: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The class, or what stands in place of one."""
        return self.path_class or self.answer


@dataclass(frozen=True)
class Unfinished:
    """Something that can't be taken: the dispute it belongs to, if any, and why."""

    dispute: int | None
    why: str


@dataclass
class Answered:
    """Answers by dispute, what is unfinished, and what a person should know besides."""

    answers: dict[int, Answer] = field(default_factory=dict)
    unfinished: list[Unfinished] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Said:
    """One object's word on a dispute."""

    answer: str
    path_class: str | None
    description: str
    outline: str | None


class _Places:
    """The disputes on one slide, found by place."""

    def __init__(self, outlines: Mapping[int, shapely.Geometry]) -> None:
        self._numbers = sorted(outlines)
        self._areas = shapely.make_valid(
            np.array([outlines[number] for number in self._numbers], dtype=object)
        )
        self._tree = shapely.STRtree(self._areas)

    def covered(self, outline: shapely.Geometry) -> list[int]:
        """The disputes of which an outline covers more than half."""
        outline = shapely.make_valid(outline)
        near = np.sort(self._tree.query(outline))
        common_px2 = shapely.area(shapely.intersection(self._areas[near], outline))
        is_covered = common_px2 > COVERED * shapely.area(self._areas[near])
        return [self._numbers[index] for index in near[is_covered].tolist()]


def answered(
    entries: Mapping[int, QueueEntry],
    disputes: Mapping[int, PathObject],
    drawn: Sequence[tuple[str, PathObject]],
    extents_px: Mapping[str, tuple[int, int]],
    *,
    classes: Mapping[str, tuple[str, str | None]],
    reason: str,
) -> Answered:
    """Read the answers out of a project's objects.

    Parameters
    ----------
    entries
        The disputes of the run, by number.
    disputes
        The object of each dispute that the project holds, in level-0 pixels of its slide.
    drawn
        Other annotations, each with the name of its slide.
    extents_px
        Width and height of each slide: the outline of a dispute about a slide as a whole.
    classes
        The answer that each class in the project gives; others are none.
    reason
        For what has no description of its own; may be empty.
    """
    result = Answered()
    outlines = {n: _outline(entries[n], extents_px) for n in disputes}
    places = _places(entries, outlines)
    said: dict[int, list[_Said]] = defaultdict(list)
    for number, thing in sorted(disputes.items()):
        if entries[number].geometry is not None and _is_moved(outlines[number], thing):
            result.notes.append(
                f"the outline of dispute {number} was changed, which decides nothing"
            )
        if thing.path_class is None:
            continue
        where = _named(number, entries)
        if thing.path_class not in classes:
            result.unfinished.append(Unfinished(number, _no_answer(where, thing, classes)))
            continue
        said[number].append(_Said(*classes[thing.path_class], _description(thing), None))
    for slide, thing in drawn:
        _hear_drawn(slide, thing, places, classes, said, result)
    unfinished = {one.dispute for one in result.unfinished}
    for number, words in sorted(said.items()):
        if number not in unfinished:
            _settle(number, words, entries, reason, result)
    return result


def _hear_drawn(
    slide: str,
    thing: PathObject,
    places: Mapping[str, _Places],
    classes: Mapping[str, tuple[str, str | None]],
    said: dict[int, list[_Said]],
    result: Answered,
) -> None:
    where = f"the annotation drawn on {slide} at {_place(thing)}"
    numbers = places[slide].covered(thing.geometry) if slide in places else []
    why = None
    if thing.path_class is None:
        why = f"{where} has no class; give it one, or remove it"
    elif thing.path_class not in classes:
        why = _no_answer(where, thing, classes)
    elif not numbers:
        why = (
            f"{where} covers no dispute by more than half; enlarge it, or give the dispute's own "
            "object a class"
        )
    if thing.path_class is None or why is not None:
        belongs_to: list[int | None] = [*numbers] or [None]
        result.unfinished += [Unfinished(number, str(why)) for number in belongs_to]
        return
    outline = shapely.to_wkt(thing.geometry, rounding_precision=2)
    word = _Said(*classes[thing.path_class], _description(thing), outline)
    for number in numbers:
        said[number].append(word)
    result.notes.append(
        f"{where}, {thing.path_class!r}, answers {', '.join(f'dispute {n}' for n in numbers)} as a "
        "whole; its outline stays in the trail"
    )


def _settle(
    number: int,
    words: Sequence[_Said],
    entries: Mapping[int, QueueEntry],
    reason: str,
    result: Answered,
) -> None:
    """What several objects say of one dispute: one answer, with every reason that was given."""
    where = _named(number, entries)
    answers = list(dict.fromkeys((word.answer, word.path_class) for word in words))
    if len(answers) > 1:
        told = " and ".join(label or answer for answer, label in answers)
        result.unfinished.append(
            Unfinished(number, f"{where} has two answers in the project, {told}; leave one")
        )
        return
    reasons = list(dict.fromkeys(word.description for word in words if word.description))
    why = "; ".join(reasons) or reason.strip()
    if not why and entries[number].state == "open":
        result.unfinished.append(
            Unfinished(
                number,
                f"{where} has no reason; write one into its description in QuPath, or give one for "
                "all with --reason",
            )
        )
        return
    drawn = tuple(word.outline for word in words if word.outline is not None)
    result.answers[number] = Answer(*answers[0], why, drawn)


def _places(
    entries: Mapping[int, QueueEntry], outlines: Mapping[int, shapely.Geometry]
) -> dict[str, _Places]:
    """The disputes of each slide that has some."""
    of_slide: dict[str, dict[int, shapely.Geometry]] = defaultdict(dict)
    for number, outline in outlines.items():
        of_slide[entries[number].slide][number] = outline
    return {slide: _Places(own) for slide, own in of_slide.items()}


def _outline(entry: QueueEntry, extents_px: Mapping[str, tuple[int, int]]) -> shapely.Geometry:
    if entry.geometry is not None:
        return entry.geometry
    return shapely.box(0, 0, *extents_px[entry.slide])


def _is_moved(outline: shapely.Geometry, thing: PathObject) -> bool:
    return bool(shapely.hausdorff_distance(outline, thing.geometry) > MOVED_PX)


def _no_answer(where: str, thing: PathObject, classes: Mapping[str, object]) -> str:
    known = ", ".join(dict.fromkeys([*classes, *ANSWER_CLASSES]))
    return f"{where} has the class {thing.path_class!r}, which is no answer; take one of {known}"


def _description(thing: PathObject) -> str:
    return str((thing.extra.get("metadata") or {}).get(DESCRIPTION, "")).strip()


def _named(number: int, entries: Mapping[int, QueueEntry]) -> str:
    return f"dispute {number} on {entries[number].slide}"


def _place(thing: PathObject) -> str:
    left, top, _, _ = thing.geometry.bounds
    return f"x {left:.0f}, y {top:.0f} px"
