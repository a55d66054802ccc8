"""Making QuPath projects for annotators, and adding slides to them later.

Everything is looked up and checked before the first file is written, and what is written comes in
together with the store's records of it, or is taken away again. Nothing that an annotator may have
touched is ever written over.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.distribution.binding import (
    BINDING_NAME,
    FORMAT,
    Binding,
    BoundProtocol,
    study_id,
)
from annotation.distribution.domains import Domains, read_domains
from annotation.distribution.linked_images import link_image
from annotation.distribution.planning import PROJECT_NAME, HandOut, ProjectPlan, plan_project
from annotation.distribution.saved_state import saved_state
from annotation.errors import ConflictError, InputError
from annotation.lookup import find_annotator, find_protocol
from annotation.paths import replacing
from annotation.projects.creating import NewImage, add_images, create_project
from annotation.projects.image_frames import frame_to_open_with
from annotation.projects.process import QuPathProcess
from annotation.projects.project_lock import project_lock, refuse_open_windows
from annotation.projects.recovery import recover, recovery_notes
from annotation.protocol import Protocol
from annotation.recognition import extent_of
from annotation.signing.sign_off import require_sign_off
from annotation.slides import recognisable_content
from annotation.store import Store, now
from annotation.study import protocol_of
from annotation.tables import (
    Assignment,
    HandedProject,
    ProtocolVersion,
    Slide,
)

__all__ = ["HandedOut", "hand_out", "hand_out_within"]

_DOMAIN_RGB = (40, 80, 200)
_IGNORE_RGB = (160, 160, 160)


@dataclass
class HandedOut:
    """The projects, what in the images tells which slide it is, and what is worth telling."""

    projects: list[dict[str, Any]] = field(default_factory=list)
    leaks: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The document of ``distribute``."""
        return vars(self).copy()


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
    require_sign_off(session, row, protocol)
    if not request.annotators:
        raise InputError("nobody is named to hand slides to; give handles, separated by commas")
    for number, handle in enumerate(request.annotators):
        if handle in request.annotators[:number]:
            raise InputError(f"annotator {handle!r} is named twice; name each once")
    people = [find_annotator(session, handle) for handle in request.annotators]
    taken = set(session.scalars(select(Assignment.shown_name)))
    taken |= set(session.scalars(select(Slide.name)))
    plans = [plan_project(session, request, protocol, row, person, taken) for person in people]
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


def _leaks(plans: Sequence[ProjectPlan]) -> list[dict[str, Any]]:
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
    plan: ProjectPlan,
    version: tuple[ProtocolVersion, Protocol],
    domains: Domains,
    process: QuPathProcess,
    undo: ExitStack,
    result: HandedOut,
) -> None:
    """Write one annotator's project, and record it."""
    row, protocol = version
    if plan.standing is None:
        _make_folder(plan.folder)
        # It is ours alone from here on, so it may be taken away again.
        undo.callback(shutil.rmtree, plan.folder, ignore_errors=True)
    new_images = _new_images(plan, domains, undo, result)
    if plan.standing is None:
        project_id = str(uuid.uuid4())
        classes = _classes(protocol, domains)
        _make_project(session, plan, row, project_id, new_images, classes, process)
        numbers = list(range(1, len(plan.images) + 1))
    else:
        project_id = plan.standing.project
        with project_lock(plan.project):
            if not request.qupath_is_elsewhere:
                refuse_open_windows(plan.project)
            result.notes += recovery_notes(recover(plan.project))
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


def _new_images(
    plan: ProjectPlan, domains: Domains, undo: ExitStack, result: HandedOut
) -> list[NewImage]:
    """The images as QuPath is to find them, under masked links where names are masked."""
    new_images = []
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
        frame, provider = frame_to_open_with(extent_of(image.slide))
        domain = domains.objects.get(image.slide.name, ())
        new_images.append(
            NewImage(
                image.shown,
                path.as_uri(),
                objects=[frame.inverse.place_object(thing) for thing in domain],
                provider=provider,
            )
        )
    return new_images


def _make_project(
    session: Session,
    plan: ProjectPlan,
    row: ProtocolVersion,
    project_id: str,
    new_images: list[NewImage],
    classes: Sequence[tuple[str, tuple[int, int, int] | None]],
    process: QuPathProcess,
) -> None:
    """Write a new project that is bound to its annotator, and record it."""
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
        classes=classes,
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


def _make_folder(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        raise ConflictError(
            f"{folder} has come to be there meanwhile, so nothing was written; choose another --to, "
            "and handles that differ in more than capitals",
            target=folder,
        ) from None


def _extend(
    plan: ProjectPlan,
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
    plan: ProjectPlan,
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
            **({"plan_sha256": request.plan_sha256} if request.plan_sha256 else {}),
        },
        reason=request.washout.force if request.washout else None,
    )
