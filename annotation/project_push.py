"""Pushing into a QuPath project: our objects beside those of people, and out again.

Ours lie under the root of an image, each under a UUID that is on record. What a person drew is
never touched; one of ours that a person has changed is theirs as well, so it stands in the way
instead of being overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation.distribution.binding import read_binding, study_id
from annotation.distribution.unread_images import announce_states, settle_states
from annotation.errors import ConflictError, InputError, RefusedError, UnknownNameError
from annotation.project_changes import change_of, is_changed_here
from annotation.projects.entry import slide_names
from annotation.projects.files import ProjectFile, ProjectImage
from annotation.projects.image_files import find_image
from annotation.projects.image_frames import frame_of
from annotation.projects.project_writing import OpenedProject, opened_for_writing
from annotation.push_records import announce, forget, note_push, records_in_force, withdraw
from annotation.push_result import PushResult, listed
from annotation.recognition import extent_of, slide_of_image
from annotation.staged_files import SlideObjects
from annotation.store import Store
from annotation.tables import Assignment, PushedObject, Slide

__all__ = ["push_to_project", "revert_from_project"]


@dataclass
class _Prepared:
    """What is built and announced, and waits to be put into the project.

    ``announced`` and ``forgotten`` are ids of records, ``images`` the SHA-256 of new data by the
    image's number.
    """

    announced: list[int] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)


def push_to_project(
    store: Store,
    path: Path,
    origin: str,
    slides: Iterable[SlideObjects],
    *,
    qupath_is_elsewhere: bool,
) -> PushResult:
    """As :func:`annotation.push.push`, into the images of a project."""
    result = PushResult()
    absent: list[str] = []
    prepared = _Prepared()
    with opened_for_writing(path, qupath_is_elsewhere=qupath_is_elsewhere) as opened:
        with store.writing() as session:
            images = _images(session, opened.project)
            for slide in slides:
                image = images.get(slide.slide_id)
                if image is None:
                    absent += [slide.slide_name] if slide.objects else []
                    continue
                _prepare_image(session, opened, image, origin, slide, result, prepared)
            if absent and not result.targets:
                raise InputError(
                    f"none of the slides ({listed(absent)}) is an image of {path}; name a project that "
                    "shows them",
                    target=path,
                )
            prepared.unread = announce_states(session, opened.project, opened.new_files())
        with _put_in(store, opened, prepared) as session:
            if prepared.images:
                note_push(
                    session, "pushed", origin, path, old=None, new=(result.pushed, prepared.images)
                )
        result.notes += opened.notes
    if absent:
        result.notes.append(f"not in the project: {listed(absent)}")
    return result


@contextmanager
def _put_in(store: Store, opened: OpenedProject, prepared: _Prepared) -> Iterator[Session]:
    """Write what is prepared, and settle in the store what was announced.

    That stands in the store by now, so that ours is known as ours whenever we are stopped. What
    fails leaves project and store as they were.
    """
    try:
        with store.writing() as session:
            if opened.changed:
                opened.commit()
            settle_states(session, prepared.unread, written=True)
            forget(session, prepared.forgotten)
            yield session
    except BaseException:
        with store.writing() as session:
            settle_states(session, prepared.unread, written=False)
            withdraw(session, prepared.announced)
        raise


def _prepare_image(
    session: Session,
    opened: OpenedProject,
    image: ProjectImage,
    origin: str,
    slide: SlideObjects,
    result: PushResult,
    prepared: _Prepared,
) -> None:
    target = f"{opened.project.path}#{image.number}"
    rows = records_in_force(session, origin, target)
    if not slide.objects and not rows:
        return
    row = session.get_one(Slide, slide.slide_id)
    frame = frame_of(image, extent_of(row))
    held = opened.read(image)
    change = change_of(held, target, slide, rows, frame)
    result.skipped += change.skipped
    result.targets.append(target)
    prepared.forgotten += change.forgotten
    if not change.add and not change.remove and not change.recorded:
        return
    to_image = frame.inverse
    drawn = [to_image.place_object(thing) for thing in change.add]
    sha256 = opened.change(held, add=drawn, remove=change.remove)
    prepared.announced += announce(session, origin, change, sha256)
    result.pushed += len(change.add)
    result.replaced += change.replaced
    result.removed += len(change.remove) - change.replaced
    prepared.images[str(image.number)] = sha256


def revert_from_project(
    store: Store, path: Path, origin: str, *, qupath_is_elsewhere: bool
) -> PushResult:
    """As :func:`annotation.push.revert`, out of the images of a project."""
    result = PushResult()
    prepared = _Prepared()
    with opened_for_writing(path, qupath_is_elsewhere=qupath_is_elsewhere) as opened:
        with store.writing() as session:
            targets = _targets(session, origin, opened.project.path)
            changed: list[str] = []
            for target in targets:
                changed += _prepare_revert(session, opened, target, origin, result, prepared)
            if changed:
                raise RefusedError(
                    f"{len(changed)} objects in {path} were changed since the push "
                    f"({listed(changed)}), so nothing was removed; pull what was changed, remove them in "
                    "QuPath and revert again",
                    changed=changed,
                )
            prepared.unread = announce_states(session, opened.project, opened.new_files())
        with _put_in(store, opened, prepared) as session:
            note_push(
                session,
                "push reverted",
                origin,
                path,
                old=result.reverted,
                new=(0, prepared.images),
            )
        result.notes += opened.notes
    return result


def _targets(session: Session, origin: str, project: Path) -> list[str]:
    """Where something of an origin stands in a project."""
    everywhere = session.scalars(
        select(PushedObject.target)
        .where(PushedObject.origin == origin, PushedObject.reverted_at.is_(None))
        .distinct()
    )
    targets = sorted(t for t in everywhere if t.rpartition("#")[0] == str(project))
    if not targets:
        raise UnknownNameError(
            f"nothing of {origin} stands in {project}; see where it was pushed to in "
            "`pathquorum audit export`",
            kind="push",
            name=origin,
        )
    return targets


def _prepare_revert(
    session: Session,
    opened: OpenedProject,
    target: str,
    origin: str,
    result: PushResult,
    prepared: _Prepared,
) -> list[str]:
    """Build an image without ours; returns those of ours that a person has changed."""
    rows = records_in_force(session, origin, target)
    result.targets.append(target)
    prepared.forgotten += [row.id for known in rows.values() for row in known]
    number = target.rpartition("#")[2]
    image = next((one for one in opened.project.images if str(one.number) == number), None)
    if image is None:
        result.notes.append(f"{target}: the image is gone, and with it {len(rows)} objects")
        return []
    held = opened.read(image)
    slide_id = next(iter(rows.values()))[0].slide_id
    frame = frame_of(image, extent_of(session.get_one(Slide, slide_id)))
    there = {uuid: frame.place_object(held.objects[uuid]) for uuid in rows if uuid in held.objects}
    changed = [uuid for uuid, thing in there.items() if is_changed_here(rows[uuid], thing)]
    if there and not changed:
        prepared.images[number] = opened.change(held, add=[], remove=sorted(there))
    result.reverted += len(there)
    return changed


def _images(session: Session, project: ProjectFile) -> dict[int, ProjectImage]:
    """The image of each slide that the project shows, by the slide's id."""
    images: dict[int, ProjectImage] = {}
    binding = read_binding(project.path)
    if binding is not None and binding.study != study_id(session):
        binding = None
    for image in project.images:
        identity = binding.assignment_of(image.number) if binding is not None else None
        assignment = session.get(Assignment, identity) if identity is not None else None
        slide = (
            session.get_one(Slide, assignment.slide_id)
            if assignment is not None
            else slide_of_image(
                session,
                f"{project.path.name}, image {image.name!r}",
                slide_names(image),
                partial(_file_of, project, image),
            )
        )
        if slide is None:
            continue
        other = images.setdefault(slide.id, image)
        if other is not image:
            raise ConflictError(
                f"images {other.name!r} and {image.name!r} of {project.path.name} both show slide "
                f"{slide.name!r}, so where to push is unknown; remove one in QuPath",
                slide=slide.name,
            )
    return images


def _file_of(project: ProjectFile, image: ProjectImage) -> Path | None:
    found = find_image(project, image)
    return None if isinstance(found, str) else found.path
