"""What an adjudicator decided in QuPath, as decisions with their reasons.

A dispute is answered by giving its object a class, or by drawing an annotation of a class over more
than half of it. The reason is the object's description in QuPath, else the one that goes for all.
What is half done is refused by name, so that nothing is decided by an oversight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from sqlalchemy.orm import Session

from annotation.distribution.binding import study_id
from annotation.errors import ConflictError, InputError, SourceError
from annotation.qupath import open_project
from annotation.recognition import extent_of
from annotation.records import PathObject
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from consensus.adjudicating.binding import AdjudicationBinding, read_binding
from consensus.adjudicating.opening import ANSWER_CLASSES
from consensus.adjudication import decide_together
from consensus.queue.adjudication_queue import QueueEntry, queue
from consensus.queue.decisions import CLASS
from consensus.runs import find_run

__all__ = ["Collected", "collect"]

DESCRIPTION = "ANNOTATION_DESCRIPTION"
"""QuPath keeps an annotation's description under this key of its metadata."""

COVERED = 0.5
"""A drawn annotation answers a dispute of which it covers more than this share."""

_IN_ONE_LINE = 5
_MOVED_PX = 1.0


@dataclass
class Collected:
    """Disputes decided now, decided before with the same answer, and still open."""

    decided: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``adjudicate collect``."""
        return vars(self).copy()


@dataclass(frozen=True)
class _Answer:
    """What was answered for one dispute."""

    answer: str
    path_class: str | None
    reason: str


def collect(
    session: Session, folder: Path, *, by: str, reason: str | None = None, partial: bool = False
) -> Collected:
    """Take the decisions out of a project, all of them or none.

    Parameters
    ----------
    folder
        That ``adjudicate open`` made, or the project.qpproj in it.
    reason
        For the disputes that have no description of their own.
    partial
        Take what is decided, and leave the rest open.

    Raises
    ------
    SourceError
        The project is another study's, or a dispute's object is gone.
    InputError
        A dispute is half done, has a class that is no answer, or no reason.
    ConflictError
        A dispute was decided otherwise in the meantime, or has two answers in the project.
    """
    project = folder if folder.suffix.lower() == ".qpproj" else folder / "project.qpproj"
    binding = read_binding(project)
    if binding.study != study_id(session):
        raise SourceError(
            f"{project} holds the disputes of another store; name that one with --store",
            file=project,
        )
    run = find_run(session, binding.run)
    entries = {entry.dispute: entry for entry in queue(session, run)}
    found = _read(session, project, binding)
    missing = sorted(n for u, n in binding.disputes.items() if u not in found.disputes)
    if missing:
        raise SourceError(
            f"{project}: the objects of {_listed(missing, entries)} are gone; undo that in QuPath, or "
            "open the disputes anew with `pathquorum adjudicate open`",
            file=project,
        )
    unknown = sorted(set(binding.disputes.values()) - entries.keys())
    if unknown:
        raise SourceError(f"{project} names dispute {unknown[0]}, which run {run.id} does not have")
    found.notes += _moved(found, binding, entries)
    protocol = protocol_of(session.get_one(ProtocolVersion, run.protocol_id))
    classes = _Classes(run.classes, {name: protocol.map_class(name).name for name in found.classes})
    answers = _answers(found, binding, entries, classes, reason or "")
    open_now = [n for n in sorted(binding.disputes.values()) if n not in answers]
    result = Collected(notes=found.notes)
    still_open = [number for number in open_now if entries[number].state == "open"]
    if still_open and not partial:
        raise InputError(
            f"{_listed(still_open, entries)} have no class yet, so nothing was taken; give each one a "
            f"class (or {' or '.join(map(repr, ANSWER_CLASSES))}) in QuPath and save, or take the "
            "others with --partial",
            disputes=still_open,
        )
    result.open = still_open
    _decide(session, answers, entries, by, found.outlines, result)
    return result


@dataclass
class _Found:
    """What stands in the project: dispute objects by UUID, and what was drawn beside them."""

    disputes: dict[str, PathObject] = field(default_factory=dict)
    slide_of: dict[str, int] = field(default_factory=dict)
    drawn: list[tuple[int, PathObject]] = field(default_factory=list)
    outlines: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> set[str]:
        """All classes that were given."""
        things = [*self.disputes.values(), *(thing for _, thing in self.drawn)]
        return {thing.path_class for thing in things if thing.path_class is not None}


@dataclass(frozen=True)
class _Classes:
    """What the classes in the project mean for a run."""

    of_run: Sequence[str]
    mapped: Mapping[str, str | None]

    def answer(self, path_class: str, where: str) -> tuple[str, str | None]:
        """The answer that a class gives."""
        if path_class in ANSWER_CLASSES:
            return ANSWER_CLASSES[path_class], None
        for name in (path_class, self.mapped.get(path_class)):
            if name in self.of_run:
                return CLASS, name
        raise InputError(
            f"{where} has the class {path_class!r}, which is no answer; take one of "
            f"{', '.join([*self.of_run, *ANSWER_CLASSES])}"
        )


def _read(session: Session, project: Path, binding: AdjudicationBinding) -> _Found:
    found = _Found()
    for source in open_project(project):
        slide_id = binding.slides.get(str(source.entry_id))
        slide = session.get(Slide, slide_id) if slide_id is not None else None
        if slide is None:
            found.notes.append(f"{source.name} was added in QuPath and holds no dispute")
            continue
        frame, notes = source.placement(extent_of(slide))
        found.notes += notes
        for batch in source.batches():
            found.notes += [f"object {r.id} can't be read: {r.reason}" for r in batch.rejections]
            for thing in batch.objects:
                placed = frame.place_object(thing)
                if thing.uuid in binding.disputes:
                    found.disputes[str(thing.uuid)] = placed
                    found.slide_of[str(thing.uuid)] = slide.id
                elif thing.object_type == "annotation":
                    found.drawn.append((slide.id, placed))
    return found


def _moved(
    found: _Found, binding: AdjudicationBinding, entries: Mapping[int, QueueEntry]
) -> list[str]:
    """Disputes whose outline was changed in QuPath: that decides nothing, and is told."""
    notes = []
    for uuid, number in binding.disputes.items():
        was, now = entries[number].geometry, found.disputes[uuid].geometry
        if was is not None and shapely.hausdorff_distance(was, now) > _MOVED_PX:
            notes.append(f"the outline of dispute {number} was changed, which decides nothing")
    return notes


def _answers(
    found: _Found,
    binding: AdjudicationBinding,
    entries: Mapping[int, QueueEntry],
    classes: _Classes,
    reason: str,
) -> dict[int, _Answer]:
    answers: dict[int, _Answer] = {}
    for uuid, number in sorted(binding.disputes.items(), key=lambda pair: pair[1]):
        thing = found.disputes[uuid]
        if thing.path_class is None:
            continue
        where = f"dispute {number} on {entries[number].slide}"
        answers[number] = _Answer(*classes.answer(thing.path_class, where), _reason(thing, reason))
    for slide_id, thing in found.drawn:
        if thing.path_class is None:
            raise InputError(
                f"an annotation drawn at {_place(thing)} has no class; give it one, or remove it"
            )
        numbers = _covered(thing, slide_id, found, binding)
        if not numbers:
            raise InputError(
                f"the annotation {thing.path_class!r} drawn at {_place(thing)} covers no dispute by "
                "more than half; enlarge it, or give the dispute's own object a class"
            )
        where = f"an annotation drawn at {_place(thing)}"
        drawn = _Answer(*classes.answer(thing.path_class, where), _reason(thing, reason))
        for number in numbers:
            given = answers.setdefault(number, drawn)
            found.outlines[number] = shapely.to_wkt(thing.geometry, rounding_precision=2)
            if (given.answer, given.path_class) != (drawn.answer, drawn.path_class):
                raise ConflictError(
                    f"dispute {number} on {entries[number].slide} has two answers in the project, "
                    f"{given.path_class or given.answer} and {drawn.path_class or drawn.answer}; "
                    "leave one",
                    dispute=number,
                )
        found.notes.append(
            f"an annotation {thing.path_class!r} at {_place(thing)} answers "
            f"{', '.join(f'dispute {n}' for n in numbers)} as a whole; its outline stays in the trail"
        )
    for number, answer in answers.items():
        if not answer.reason and entries[number].state == "open":
            raise InputError(
                f"dispute {number} on {entries[number].slide} has no reason; write one into its "
                "description in QuPath, or give one for all with --reason",
                dispute=number,
            )
    return answers


def _covered(
    thing: PathObject, slide_id: int, found: _Found, binding: AdjudicationBinding
) -> list[int]:
    """The disputes on a slide of which an annotation covers more than half."""
    here = [uuid for uuid in binding.disputes if found.slide_of[uuid] == slide_id]
    outlines = shapely.make_valid(
        np.array([found.disputes[uuid].geometry for uuid in here], dtype=object)
    )
    common_px2 = shapely.area(shapely.intersection(outlines, shapely.make_valid(thing.geometry)))
    covered = common_px2 > COVERED * shapely.area(outlines)
    return sorted(
        binding.disputes[uuid] for uuid, is_covered in zip(here, covered, strict=True) if is_covered
    )


def _reason(thing: PathObject, general: str) -> str:
    own = (thing.extra.get("metadata") or {}).get(DESCRIPTION, "")
    return str(own).strip() or general.strip()


def _place(thing: PathObject) -> str:
    left, top, _, _ = thing.geometry.bounds
    return f"x {left:.0f}, y {top:.0f} px"


def _decide(
    session: Session,
    answers: Mapping[int, _Answer],
    entries: Mapping[int, QueueEntry],
    by: str,
    outlines: Mapping[int, str],
    result: Collected,
) -> None:
    together: dict[_Answer, list[int]] = {}
    for number, answer in sorted(answers.items()):
        entry = entries[number]
        if entry.state == "open":
            together.setdefault(answer, []).append(number)
        elif (entry.answer, entry.path_class) == (answer.answer, answer.path_class):
            result.skipped.append(number)
        else:
            raise ConflictError(
                f"dispute {number} on {entry.slide} was decided {entry.path_class or entry.answer} in "
                f"the meantime, and is {answer.path_class or answer.answer} in the project; open it "
                f"again with `pathquorum adjudicate reopen {number}`, or change it in QuPath",
                dispute=number,
            )
    for answer, numbers in together.items():
        decide_together(
            session,
            numbers,
            by=by,
            reason=answer.reason,
            answer=answer.answer,
            path_class=answer.path_class,
            drawn=outlines,
        )
        result.decided += numbers
    result.decided.sort()


def _listed(numbers: Sequence[int], entries: Mapping[int, QueueEntry]) -> str:
    shown = [
        f"dispute {n}" + (f" on {entries[n].slide}" if n in entries else "")
        for n in numbers[:_IN_ONE_LINE]
    ]
    more = len(numbers) - _IN_ONE_LINE
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
