"""Making QuPath projects for annotators, and adding slides to them later.

Everything is looked up and checked before the first file is written, and what is written comes in
together with the store's records of it, or is taken away again. Nothing that an annotator may have
touched is ever written over.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.distribution.assignments import (
    Washout,
    refuse_assigned,
    slides_read,
    washout_end,
)
from annotation.distribution.binding import (
    BINDING_NAME,
    FORMAT,
    Binding,
    BoundProtocol,
    read_binding,
    study_id,
)
from annotation.distribution.domains import Domains, read_domains
from annotation.distribution.linked_images import link_image, masked_file_name
from annotation.distribution.masking import SlideMask
from annotation.distribution.saved_state import saved_state
from annotation.errors import ConflictError, InputError, RefusedError, SlideError
from annotation.lookup import find_annotator, find_protocol, find_slide
from annotation.paths import file_name, inside, replacing
from annotation.projects.creating import NewImage, add_images, create_project
from annotation.projects.process import QuPathProcess
from annotation.protocol import Protocol
from annotation.slides import recognisable_content
from annotation.store import Store, now, store_salt
from annotation.study import protocol_of
from annotation.tables import (
    Annotator,
    Assignment,
    HandedProject,
    ProtocolVersion,
    Slide,
)

__all__ = ["HandOut", "HandedOut", "hand_out", "hand_out_within"]

PROJECT_NAME = "project.qpproj"

_DOMAIN_RGB = (40, 80, 200)
_IGNORE_RGB = (160, 160, 160)


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
    moved_from
        Where slides come from somebody else: the earlier assignment by slide.
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
    moved_from: Mapping[str, str] = field(default_factory=dict)


@dataclass
class HandedOut:
    """The projects, what in the images tells which slide it is, and what is worth telling."""

    projects: list[dict[str, Any]] = field(default_factory=list)
    leaks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``distribute``."""
        return vars(self).copy()


@dataclass(frozen=True)
class _Image:
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
class _Plan:
    """What one annotator gets; ``standing`` is the binding of a project that is there already."""

    annotator: Annotator
    folder: Path
    standing: Binding | None
    images: Sequence[_Image]

    @property
    def project(self) -> Path:
        return self.folder / PROJECT_NAME


def hand_out(store: Store, request: HandOut) -> HandedOut:
    """Make or extend a project for each annotator, all of it or nothing.

    Raises
    ------
    ConflictError
        A project is there already, or is somebody else's, or a slide is assigned or read already.
    RefusedError
        The protocol isn't signed and must be, or a washout has not passed.
    SlideError, SourceError, InputError
        A slide has no image, or a domain can't be used.
    """
    with ExitStack() as undo:
        with store.writing() as session:
            result = hand_out_within(session, request, undo)
        undo.pop_all()
    return result


def hand_out_within(session: Session, request: HandOut, undo: ExitStack) -> HandedOut:
    """As :func:`hand_out`, in the caller's transaction; ``undo`` takes the files away again."""
    row = find_protocol(session, request.protocol)
    protocol = protocol_of(row)
    if protocol.require.signature and row.signed_at is None:
        raise RefusedError(
            f"protocol {row.name!r} version {row.version!r} requires a signature and has none; "
            f"sign it with `pathquorum protocol sign {row.name} --version {row.version} --by HANDLE`"
        )
    if not request.annotators:
        raise InputError("nobody is named to hand slides to; give handles, separated by commas")
    for number, handle in enumerate(request.annotators):
        if handle in request.annotators[:number]:
            raise InputError(f"annotator {handle!r} is named twice; name each once")
    people = [find_annotator(session, handle) for handle in request.annotators]
    taken = set(session.scalars(select(Assignment.shown_name)))
    taken |= set(session.scalars(select(Slide.name)))
    plans = [_plan(session, request, protocol, row, person, taken) for person in people]
    slides = {image.slide.id: image.slide for plan in plans for image in plan.images}
    domains = read_domains(request.domain, protocol, list(slides.values()))
    result = HandedOut(notes=list(domains.notes))
    if row.signed_at is None:
        result.notes.append(f"protocol {row.name} version {row.version} is not signed")
    result.leaks = _leaks(plans)
    process = QuPathProcess(0)
    try:
        for plan in plans:
            _carry_out(session, request, plan, (row, protocol), domains, process, undo, result)
    finally:
        process.stop()
    return result


def _plan(
    session: Session,
    request: HandOut,
    protocol: Protocol,
    row: ProtocolVersion,
    annotator: Annotator,
    taken: set[str],
) -> _Plan:
    folder = inside(request.folder, file_name(annotator.handle, ""))
    standing = _standing(session, request, folder, row, annotator)
    slides = _slides(session, request, row, annotator)
    masked = protocol.blinding.slides or request.replicate > 1
    mask = SlideMask(store_salt(session), request.seed, annotator.id, row.id, request.replicate)
    if masked:
        by_id = {slide.id: slide for slide in slides}
        slides = [by_id[number] for number in mask.shuffled(list(by_id))]
    images = []
    for slide in slides:
        refuse_assigned(session, annotator, slide, row, request.replicate)
        end = washout_end(session, annotator, slide, row, request.replicate, request.washout)
        shown = mask.name(slide.id, taken) if masked else _unmasked_name(session, annotator, slide)
        taken.add(shown)
        images.append(_Image(slide, _file(slide), shown, masked, end, str(uuid.uuid4())))
    return _Plan(annotator, folder, standing, images)


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
    if request.slides is not None:
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


def _leaks(plans: Sequence[_Plan]) -> list[dict[str, Any]]:
    """What stays recognisable of the slides whose names are masked."""
    slides = {
        image.slide.name: image.file for plan in plans for image in plan.images if image.masked
    }
    found = [
        {"slide": name, "shows": list(recognisable_content(file, name))}
        for name, file in sorted(slides.items())
    ]
    return [entry for entry in found if entry["shows"]]


def _carry_out(
    session: Session,
    request: HandOut,
    plan: _Plan,
    version: tuple[ProtocolVersion, Protocol],
    domains: Domains,
    process: QuPathProcess,
    undo: ExitStack,
    result: HandedOut,
) -> None:
    """Write one annotator's project, and record it."""
    row, protocol = version
    new_images = []
    if plan.standing is None:
        undo.callback(shutil.rmtree, plan.folder, ignore_errors=True)
    for image in plan.images:
        path = image.file.resolve()
        if image.masked:
            linked = link_image(image.file, plan.folder / "slides", image.shown)
            if plan.standing is not None:
                undo.callback(linked.remove)
            path = linked.path.absolute()
            if linked.copied:
                result.notes.append(
                    f"slide {image.slide.name} was copied for {plan.annotator.handle}, for it "
                    "can't be linked there"
                )
        objects = domains.objects.get(image.slide.name, ())
        new_images.append(NewImage(image.shown, path.as_uri(), objects=objects))
    project_id = plan.standing.project if plan.standing else str(uuid.uuid4())
    if plan.standing is None:
        binding = Binding(
            format=FORMAT,
            study=study_id(session),
            project=project_id,
            annotator=plan.annotator.handle,
            protocol=BoundProtocol(row.name, row.version, row.sha256),
            images={str(n): image.assignment for n, image in enumerate(plan.images, start=1)},
        )
        create_project(
            plan.folder,
            new_images,
            classes=_classes(protocol, domains),
            process=process,
            extra_files={BINDING_NAME: binding.to_bytes()},
        )
        session.add(
            HandedProject(
                id=project_id,
                annotator_id=plan.annotator.id,
                protocol_id=row.id,
                folder=plan.folder.name,
                made_at=now(),
            )
        )
        session.flush()
        numbers = list(range(1, len(plan.images) + 1))
    else:
        numbers = _extend(plan, plan.standing, new_images, process, undo)
    _record(session, request, plan, row, project_id, numbers)
    result.projects.append(
        {
            "annotator": plan.annotator.handle,
            "project": str(request.folder / plan.folder.name / PROJECT_NAME),
            "slides": [image.slide.name for image in plan.images],
            "masked": any(image.masked for image in plan.images),
            "replicate": request.replicate,
            "added": plan.standing is not None,
        }
    )


def _extend(
    plan: _Plan,
    standing: Binding,
    new_images: Sequence[NewImage],
    process: QuPathProcess,
    undo: ExitStack,
) -> list[int]:
    """Add images to a project that is there, and to its binding."""
    before = plan.project.read_bytes()
    numbers = add_images(plan.project, new_images, process=process)
    after = plan.project.read_bytes()
    undo.callback(_take_back, plan.project, before, after, numbers)
    bound = {str(n): image.assignment for n, image in zip(numbers, plan.images, strict=True)}
    path = plan.folder / BINDING_NAME
    _write(path, Binding(**{**_members(standing), "images": {**standing.images, **bound}}))
    undo.callback(_write, path, standing)
    return numbers


def _members(binding: Binding) -> dict[str, Any]:
    return {name: getattr(binding, name) for name in binding.__struct_fields__}


def _write(path: Path, binding: Binding) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(binding.to_bytes())


def _take_back(project: Path, before: bytes, after: bytes, numbers: Sequence[int]) -> None:
    """Undo what was added, unless somebody has saved the project since."""
    if project.read_bytes() != after:
        return
    with replacing(project) as temporary:
        temporary.write_bytes(before)
    for number in numbers:
        shutil.rmtree(project.parent / "data" / str(number), ignore_errors=True)


def _classes(protocol: Protocol, domains: Domains) -> list[tuple[str, tuple[int, int, int] | None]]:
    """The protocol's classes in its order, then those that declare a domain, then the ignored."""
    classes: dict[str, tuple[int, int, int] | None] = {c.name: c.rgb for c in protocol.classes}
    if protocol.domain.rule == "declared":
        for name in (*protocol.domain.classes, *domains.classes):
            classes.setdefault(name, _DOMAIN_RGB)
    for name in protocol.ignore:
        classes.setdefault(name, _IGNORE_RGB)
    return list(classes.items())


def _record(
    session: Session,
    request: HandOut,
    plan: _Plan,
    row: ProtocolVersion,
    project_id: str,
    numbers: Sequence[int],
) -> None:
    at = now()
    last = max(
        session.scalars(select(Assignment.position).where(Assignment.project_id == project_id)),
        default=0,
    )
    for position, (number, image) in enumerate(
        zip(numbers, plan.images, strict=True), start=last + 1
    ):
        session.add(
            Assignment(
                id=image.assignment,
                project_id=project_id,
                annotator_id=plan.annotator.id,
                slide_id=image.slide.id,
                protocol_id=row.id,
                replicate=request.replicate,
                shown_name=image.shown,
                masked=image.masked,
                image_file=image.image_file,
                position=position,
                not_before=image.not_before,
                handed_sha256=saved_state(plan.folder / "data" / str(number)),
                assigned_at=at,
                moved_from_id=request.moved_from.get(image.slide.name),
            )
        )
    session.flush()
    # Masked names stay out of the trail, which may be shown to anyone.
    record(
        session,
        actor=None,
        action="slides assigned" if plan.standing else "project handed out",
        subject=f"project:{project_id}",
        new={
            "annotator": plan.annotator.id,
            "protocol": row.id,
            "replicate": request.replicate,
            "seed": request.seed,
            "masked": any(image.masked for image in plan.images),
            "slides": {image.assignment: image.slide.id for image in plan.images},
        },
        reason=request.washout.force if request.washout else None,
    )
