"""Taking slides back from an annotator, and giving them to another: what was read stays."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.distribution.assignments import open_assignments
from annotation.distribution.binding import Binding, read_binding
from annotation.distribution.handing_out import HandedOut, hand_out_within
from annotation.distribution.planning import PROJECT_NAME, HandOut
from annotation.distribution.saved_state import saved_state
from annotation.distribution.unread_images import is_unread
from annotation.errors import InputError, RefusedError
from annotation.lookup import find_annotator, find_protocol, find_slide
from annotation.paths import file_name, inside
from annotation.store import Store, now
from annotation.tables import Annotator, Assignment, HandedProject, Slide

__all__ = ["TakenBack", "move", "withdraw"]

_NAMED = 5


@dataclass
class TakenBack:
    """Slides withdrawn, those kept because they were read or begun, and to whom they went."""

    withdrawn: list[dict[str, Any]] = field(default_factory=list)
    kept: list[dict[str, Any]] = field(default_factory=list)
    handed: HandedOut = field(default_factory=HandedOut)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``assign``."""
        return {"withdrawn": self.withdrawn, "kept": self.kept, **self.handed.to_dict()}


def withdraw(
    store: Store,
    annotator: str,
    protocol: str,
    *,
    slides: Sequence[str] | None = None,
    folder: Path | None = None,
    reason: str | None = None,
) -> TakenBack:
    """Withdraw what an annotator has not read yet.

    The images stay in the project, which is the annotator's; a pull leaves them out and says so.

    Parameters
    ----------
    slides
        None: all of them.
    folder
        Where the projects were handed out to; there it is seen what was begun and not pulled yet,
        which stays.

    Raises
    ------
    RefusedError
        There is nothing to withdraw.
    """
    with store.writing() as session:
        return _withdraw(session, annotator, protocol, slides, folder, reason)


def move(store: Store, source: str, request: HandOut, *, reason: str | None = None) -> TakenBack:
    """Give what an annotator has not read yet to another one.

    Parameters
    ----------
    source
        From whom.
    request
        To whom: one annotator, with the folder in which both projects are; ``slides`` None: all.

    Raises
    ------
    RefusedError
        There is nothing to move.
    """
    if list(request.annotators) == [source]:
        raise InputError(f"--from and --to-annotator are both {source!r}; name two people")
    with ExitStack() as undo:
        with store.writing() as session:
            taken = _withdraw(
                session,
                source,
                request.protocol,
                request.slides,
                request.folder,
                reason,
                to_another=True,
            )
            moved = {entry["slide"]: entry["assignment"] for entry in taken.withdrawn}
            handed = hand_out_within(
                session, replace(request, slides=list(moved), moved_from=moved), undo
            )
            handed.notes = taken.handed.notes + handed.notes
            taken.handed = handed
        undo.pop_all()
    return taken


def _withdraw(
    session: Session,
    handle: str,
    protocol: str,
    slides: Sequence[str] | None,
    folder: Path | None,
    reason: str | None,
    *,
    to_another: bool = False,
) -> TakenBack:
    annotator = find_annotator(session, handle)
    row = find_protocol(session, protocol)
    standing = open_assignments(session, annotator, row)
    if slides is not None:
        wanted = {find_slide(session, name).id for name in slides}
        standing = [entry for entry in standing if entry[1].id in wanted]
        missing = wanted - {slide.id for _, slide, _ in standing}
        if missing:
            names = [name for name in slides if find_slide(session, name).id in missing]
            raise RefusedError(
                f"{_listed(names)} is not assigned to {handle!r} under {row.name}@{row.version}; "
                "see `pathquorum assign --list`"
            )
    result = TakenBack()
    begun = _begun(standing, annotator, folder, result)
    withdrawn = []
    for assignment, slide, _ in standing:
        entry = {
            "slide": slide.name,
            "replicate": assignment.replicate,
            "assignment": assignment.id,
        }
        if assignment.read_id is not None:
            result.kept.append({**entry, "because": f"read {assignment.read_id} was pulled"})
        elif to_another and assignment.replicate > 1:
            result.kept.append({**entry, "because": "nobody else can read it again"})
        elif assignment.id in begun:
            result.kept.append({**entry, "because": "it was begun; pull it first"})
        else:
            assignment.withdrawn_at = now()
            withdrawn.append(assignment)
            result.withdrawn.append(entry)
    if not withdrawn:
        why = f" ({result.kept[0]['because']})" if result.kept else ""
        raise RefusedError(
            f"{handle!r} has nothing under {row.name}@{row.version} that is not read yet{why}; "
            "nothing was withdrawn, see `pathquorum assign --list`"
        )
    session.flush()
    record(
        session,
        actor=None,
        action="assignments withdrawn",
        subject=f"annotator:{annotator.id}",
        old={"slides": {assignment.id: assignment.slide_id for assignment in withdrawn}},
        new={"protocol": row.id, "kept": [entry["assignment"] for entry in result.kept]},
        reason=reason,
    )
    return result


def _begun(
    standing: Sequence[tuple[Assignment, Slide, HandedProject]],
    annotator: Annotator,
    folder: Path | None,
    result: TakenBack,
) -> set[str]:
    """The assignments whose images were saved since they were handed out."""
    binding: Binding | None = None
    if folder is not None:
        place = inside(folder, file_name(annotator.handle, ""))
        if (place / PROJECT_NAME).exists():
            binding = read_binding(place / PROJECT_NAME)
    if folder is None or binding is None:
        result.handed.notes.append(
            f"the project of {annotator.handle} was not looked into, so slides may be taken back "
            "that were begun and not pulled yet"
        )
        return set()
    entries = {assignment: number for number, assignment in binding.images.items()}
    begun = set()
    for assignment, _, _ in standing:
        number = entries.get(assignment.id)
        if number is None:
            continue
        state = saved_state(place / "data" / number)
        if state is not None and not is_unread(assignment, state):
            begun.add(assignment.id)
    return begun


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_NAMED]))
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else f"slide {shown}"
