"""What each annotator is to get, looked up and checked before anything is written."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.distribution.assignments import (
    Washout,
    refuse_assigned,
    slides_read,
    washout_end,
)
from annotation.distribution.binding import Binding, read_binding, study_id
from annotation.distribution.linked_images import masked_file_name
from annotation.distribution.masking import SlideMask
from annotation.errors import ConflictError, InputError, SlideError
from annotation.lookup import find_slide
from annotation.paths import file_name, inside
from annotation.protocol import Protocol
from annotation.store import store_salt
from annotation.tables import (
    Annotator,
    Assignment,
    HandedProject,
    ProtocolVersion,
    Slide,
)

__all__ = ["PROJECT_NAME", "HandOut", "PlannedImage", "ProjectPlan", "plan_project"]

PROJECT_NAME: Final = "project.qpproj"


@dataclass(frozen=True)
class HandOut:
    """What to hand out.

    Attributes
    ----------
    folder
        Gets a folder a person; ``new`` refuses one that has a project already.
    slides
        None: all slides with an image, or for a replicate those that the person has read.
    washout
        For a replicate.
    qupath_is_elsewhere
        The user says that no QuPath window has a project open that slides are added to.
    moved_from
        Where slides come from somebody else: the earlier assignment by slide.
    plan
        Of each annotator the slides, in the order in which they are to be read; beside it
        ``slides`` doesn't count. ``plan_sha256`` is the digest of the file that says so.
    """

    annotators: Sequence[str]
    protocol: str
    folder: Path
    slides: Sequence[str] | None = None
    replicate: int = 1
    washout: Washout | None = None
    domain: Path | None = None
    seed: int = 0
    new: bool = False
    qupath_is_elsewhere: bool = False
    moved_from: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, Sequence[str]] | None = None
    plan_sha256: str | None = None


@dataclass(frozen=True)
class PlannedImage:
    """One slide as an image of a project."""

    slide: Slide
    file: Path
    shown: str
    masked: bool
    not_before: date | None
    assignment: str

    @property
    def image_file(self) -> str:
        """The name of the file that the project points to."""
        return masked_file_name(self.file, self.shown) if self.masked else self.file.name


@dataclass(frozen=True)
class ProjectPlan:
    """What one annotator gets; ``standing`` is the binding of a project that is there already."""

    annotator: Annotator
    folder: Path
    standing: Binding | None
    images: Sequence[PlannedImage]

    @property
    def project(self) -> Path:
        """The project's file."""
        return self.folder / PROJECT_NAME


def plan_project(
    session: Session,
    request: HandOut,
    protocol: Protocol,
    row: ProtocolVersion,
    annotator: Annotator,
    taken: set[str],
) -> ProjectPlan:
    """Find out what an annotator gets; ``taken`` are names that no mask may be, and grows.

    Raises
    ------
    ConflictError, RefusedError, InputError, SlideError
        It can't be handed out like this.
    """
    folder = inside(request.folder, file_name(annotator.handle, ""))
    standing = _standing(session, request, folder, row, annotator)
    slides = _slides(session, request, row, annotator)
    masked = protocol.blinding.slides or request.replicate > 1
    mask = SlideMask(store_salt(session), request.seed, annotator.id, row.id, request.replicate)
    if masked and request.plan is None:
        by_id = {slide.id: slide for slide in slides}
        slides = [by_id[number] for number in mask.shuffled(list(by_id))]
    images = []
    for slide in slides:
        refuse_assigned(session, annotator, slide, row, request.replicate)
        end = washout_end(session, annotator, slide, row, request.replicate, request.washout)
        shown = mask.name(slide.id, taken) if masked else _unmasked_name(session, annotator, slide)
        taken.add(shown)
        images.append(PlannedImage(slide, _file(slide), shown, masked, end, str(uuid.uuid4())))
    return ProjectPlan(annotator, folder, standing, images)


def _standing(
    session: Session, request: HandOut, folder: Path, row: ProtocolVersion, annotator: Annotator
) -> Binding | None:
    """The binding of the project that is in the folder already; refused unless it may be added to."""
    if not folder.exists():
        return None
    project = folder / PROJECT_NAME
    binding = read_binding(project) if project.exists() else None
    if request.new or binding is None:
        next_step = (
            "add slides to it with `pathquorum assign`, or choose another --to"
            if binding is not None
            else "move it, or choose another --to"
        )
        raise ConflictError(
            f"{folder} is there already, so nothing was written; {next_step}", target=folder
        )
    known = session.get(HandedProject, binding.project)
    ours = binding.study == study_id(session) and known is not None
    if (
        not ours
        or known is None
        or (known.annotator_id, known.protocol_id) != (annotator.id, row.id)
    ):
        raise ConflictError(
            f"the project in {folder} was made "
            + (
                f"for annotator {binding.annotator!r} and protocol "
                f"{binding.protocol.name}@{binding.protocol.version}"
                if ours
                else "by another study"
            )
            + "; choose another --to",
            target=folder,
        )
    return binding


def _slides(
    session: Session, request: HandOut, row: ProtocolVersion, annotator: Annotator
) -> Sequence[Slide]:
    if request.plan is not None:
        slides = [find_slide(session, name) for name in request.plan[annotator.handle]]
    elif request.slides is not None:
        slides = [find_slide(session, name) for name in dict.fromkeys(request.slides)]
    elif request.replicate > 1:
        slides = list(slides_read(session, annotator, row, request.replicate - 1))
    else:
        slides = list(
            session.scalars(select(Slide).where(Slide.path.is_not(None)).order_by(Slide.name))
        )
    if not slides:
        raise InputError(
            f"there is no slide to hand to {annotator.handle!r}; "
            + (
                "add slides with `pathquorum slide add PATH`"
                if request.replicate == 1
                else "pull the earlier reading first"
            )
        )
    return slides


def _file(slide: Slide) -> Path:
    if slide.path is None:
        raise SlideError(
            f"slide {slide.name!r} was added without an image, so it can't be handed out; leave it "
            "out, or add its image under another name",
            slide=slide.name,
        )
    path = Path(slide.path)
    if not path.is_file():
        raise SlideError(
            f"slide {slide.name!r} is not where it was added from; bring {path.name} back",
            slide=slide.name,
        )
    return path


def _unmasked_name(session: Session, annotator: Annotator, slide: Slide) -> str:
    """The slide's name; with a number where a withdrawn assignment of it is in the project."""
    earlier = set(
        session.scalars(
            select(Assignment.shown_name).where(
                Assignment.annotator_id == annotator.id, Assignment.slide_id == slide.id
            )
        )
    )
    name, number = slide.name, 1
    while name in earlier:
        number += 1
        name = f"{slide.name} ({number})"
    return name
