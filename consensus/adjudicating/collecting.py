"""What an adjudicator decided in QuPath, as decisions with their reasons.

What is half done is refused by name, so that nothing is decided by an oversight; on request the rest
is taken, and what stays open is named all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from annotation.distribution.binding import study_id
from annotation.errors import ConflictError, InputError, SourceError
from annotation.qupath import open_project
from annotation.recognition import extent_of
from annotation.records import PathObject
from annotation.signing.key_files import UnlockedKey
from annotation.study import protocol_of
from annotation.tables import ProtocolVersion, Slide
from consensus.adjudicating.answers import (
    ANSWER_CLASSES,
    Answer,
    Answered,
    Unfinished,
    answered,
)
from consensus.adjudicating.binding import AdjudicationBinding, read_binding
from consensus.adjudication import decide_together
from consensus.queue.adjudication_queue import QueueEntry, queue
from consensus.queue.decisions import CLASS
from consensus.runs import find_run
from consensus.tables import ConsensusRun

__all__ = ["Collected", "collect"]

_IN_ONE_LINE = 5


@dataclass
class Collected:
    """Disputes decided now, decided before with the same answer, and still open.

    ``unfinished`` says what could not be taken and why.
    """

    decided: list[int] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    open: list[int] = field(default_factory=list)
    unfinished: list[Unfinished] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``adjudicate collect``."""
        return {**vars(self), "unfinished": [vars(one) for one in self.unfinished]}


def collect(
    session: Session,
    folder: Path,
    *,
    by: str,
    reason: str | None = None,
    partial: bool = False,
    key: UnlockedKey | None = None,
) -> Collected:
    """Take the decisions out of a project, all of them or none.

    Parameters
    ----------
    folder
        That ``adjudicate open`` made, or the project.qpproj in it.
    reason
        For the disputes that have no description of their own.
    partial
        Take what is finished, name what isn't, and leave it open.
    key
        The adjudicator's, to sign each decision with.

    Raises
    ------
    SourceError
        The project is another study's, or a dispute's object is gone.
    InputError
        A dispute is half done, has a class that is no answer, or no reason.
    ConflictError
        A dispute was decided otherwise in the meantime.
    """
    project = folder if folder.suffix.lower() == ".qpproj" else folder / "project.qpproj"
    binding = read_binding(project)
    run, entries = _bound_run(session, project, binding)
    found = _read(session, project, binding)
    missing = sorted(set(binding.disputes.values()) - found.disputes.keys())
    if missing:
        raise SourceError(
            f"{project}: the objects of {_listed(missing, entries)} are gone; undo that in QuPath, or "
            "open the disputes anew with `pathquorum adjudicate open`",
            file=project,
        )
    answers = answered(
        entries,
        found.disputes,
        found.drawn,
        found.extents_px,
        classes=_meanings(session, run, found.classes),
        reason=reason or "",
    )
    if not partial:
        _refuse_unfinished(answers, found.disputes, entries)
    result = Collected(unfinished=list(answers.unfinished), notes=found.notes + answers.notes)
    together = _to_decide(answers.answers, entries, result, partial=partial)
    for answer, numbers in together.items():
        decide_together(
            session,
            numbers,
            by=by,
            reason=answer.reason,
            answer=answer.answer,
            path_class=answer.path_class,
            drawn={n: answers.answers[n].drawn for n in numbers},
            key=key,
        )
        result.decided += numbers
    result.decided.sort()
    taken = {*result.decided, *result.skipped}
    result.open = [n for n in sorted(found.disputes) if n not in taken and _is_open(entries[n])]
    return result


def _bound_run(
    session: Session, project: Path, binding: AdjudicationBinding
) -> tuple[ConsensusRun, dict[int, QueueEntry]]:
    """The run that a project is of, and all its disputes by number."""
    if binding.study != study_id(session):
        raise SourceError(
            f"{project} holds the disputes of another store; name that one with --store",
            file=project,
        )
    run = find_run(session, binding.run)
    entries = {entry.dispute: entry for entry in queue(session, run)}
    unknown = sorted(set(binding.disputes.values()) - entries.keys())
    if unknown:
        raise SourceError(
            f"{project} names dispute {unknown[0]}, which run {run.id} does not have; open the "
            "disputes anew with `pathquorum adjudicate open`",
            file=project,
        )
    return run, entries


@dataclass
class _Found:
    """What stands in the project: the object of each dispute, and what was drawn beside them."""

    disputes: dict[int, PathObject] = field(default_factory=dict)
    drawn: list[tuple[str, PathObject]] = field(default_factory=list)
    extents_px: dict[str, tuple[int, int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def classes(self) -> set[str]:
        """All classes that were given."""
        things = [*self.disputes.values(), *(thing for _, thing in self.drawn)]
        return {thing.path_class for thing in things if thing.path_class is not None}


def _read(session: Session, project: Path, binding: AdjudicationBinding) -> _Found:
    found = _Found()
    for source in open_project(project):
        slide_id = binding.slides.get(str(source.entry_id))
        slide = session.get(Slide, slide_id) if slide_id is not None else None
        if slide is None:
            found.notes.append(f"{source.name} was added in QuPath and holds no dispute")
            continue
        found.extents_px[slide.name] = (slide.width_px, slide.height_px)
        frame, notes = source.placement(extent_of(slide))
        found.notes += notes
        ignored: Counter[str] = Counter()
        for batch in source.batches():
            found.notes += [f"object {r.id} can't be read: {r.reason}" for r in batch.rejections]
            for thing in batch.objects:
                placed = frame.place_object(thing)
                if thing.uuid in binding.disputes:
                    found.disputes[binding.disputes[thing.uuid]] = placed
                elif thing.object_type == "annotation":
                    found.drawn.append((slide.name, placed))
                else:
                    ignored[thing.object_type] += 1
        found.notes += [
            f"{n} of the type {kind} on {slide.name} answer nothing, only annotations do"
            for kind, n in sorted(ignored.items())
        ]
    return found


def _meanings(
    session: Session, run: ConsensusRun, classes: set[str]
) -> dict[str, tuple[str, str | None]]:
    """The answer that each class gives; those that are none are left out."""
    protocol = protocol_of(session.get_one(ProtocolVersion, run.protocol_id))
    meanings: dict[str, tuple[str, str | None]] = {name: (CLASS, name) for name in run.classes}
    meanings |= {name: (answer, None) for name, answer in ANSWER_CLASSES.items()}
    for name in classes - meanings.keys():
        mapped = protocol.map_class(name).name
        if mapped in run.classes:
            meanings[name] = (CLASS, mapped)
    return meanings


def _refuse_unfinished(
    answers: Answered, disputes: Mapping[int, PathObject], entries: Mapping[int, QueueEntry]
) -> None:
    """Refuse all of it where something is half done, or a dispute has no answer."""
    if answers.unfinished:
        more = len(answers.unfinished) - 1
        raise InputError(
            answers.unfinished[0].why
            + (f" (and {more} more are unfinished)" if more else "")
            + "; nothing was taken, --partial takes the others",
            disputes=[one.dispute for one in answers.unfinished if one.dispute is not None],
        )
    silent = [n for n in sorted(disputes) if n not in answers.answers and _is_open(entries[n])]
    if silent:
        raise InputError(
            f"{_listed(silent, entries)} have no class yet, so nothing was taken; give each one a "
            f"class (or {' or '.join(map(repr, ANSWER_CLASSES))}) in QuPath and save, or take the "
            "others with --partial",
            disputes=silent,
        )


def _to_decide(
    answers: Mapping[int, Answer],
    entries: Mapping[int, QueueEntry],
    result: Collected,
    *,
    partial: bool,
) -> dict[Answer, list[int]]:
    """Disputes to be decided, those alike together; what is decided already is none of them."""
    together: dict[Answer, list[int]] = {}
    for number, answer in sorted(answers.items()):
        entry = entries[number]
        if _is_open(entry):
            alike = Answer(answer.answer, answer.path_class, answer.reason)
            together.setdefault(alike, []).append(number)
        elif (entry.answer, entry.path_class) == (answer.answer, answer.path_class):
            result.skipped.append(number)
        else:
            why = (
                f"dispute {number} on {entry.slide} was decided {entry.path_class or entry.answer} in "
                f"the meantime, and is {answer.label} in the project; open it again with "
                f"`pathquorum adjudicate reopen {number}`, or change it in QuPath"
            )
            if not partial:
                raise ConflictError(why, dispute=number)
            result.unfinished.append(Unfinished(number, why))
    return together


def _is_open(entry: QueueEntry) -> bool:
    return entry.state == "open"


def _listed(numbers: Sequence[int], entries: Mapping[int, QueueEntry]) -> str:
    shown = [f"dispute {n} on {entries[n].slide}" for n in numbers[:_IN_ONE_LINE]]
    more = len(numbers) - _IN_ONE_LINE
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")
