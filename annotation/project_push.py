"""Pushing into a QuPath project: our objects beside those of people, and out again.

Ours lie under the root of an image, each under a UUID that is on record. What a person drew is
never touched; one of ours that a person has changed is theirs as well, so it stands in the way
instead of being overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from annotation.audit import record
from annotation.digests import geometry_digests
from annotation.distribution.binding import read_binding, study_id
from annotation.distribution.unread_images import kept_unread
from annotation.errors import ConflictError, InputError, RefusedError, UnknownNameError
from annotation.geometry import to_wkb
from annotation.project_changes import ImageChange, change_of, is_changed_here
from annotation.projects.entry import slide_names
from annotation.projects.files import ProjectFile, ProjectImage
from annotation.projects.image_files import find_image
from annotation.projects.image_frames import frame_of
from annotation.projects.project_writing import OpenedProject, opened_for_writing
from annotation.push_result import PushResult, listed
from annotation.recognition import extent_of, slide_of_image
from annotation.staged_files import SlideObjects
from annotation.store import Store, now
from annotation.tables import Assignment, PushedObject, Slide

__all__ = ["push_to_project", "revert_from_project"]


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
    with opened_for_writing(path, qupath_is_elsewhere=qupath_is_elsewhere) as opened:
        with store.writing() as session:
            images = _images(session, opened.project)
            events: dict[str, str] = {}
            for slide in slides:
                image = images.get(slide.slide_id)
                if image is None:
                    absent += [slide.slide_name] if slide.objects else []
                    continue
                _push_image(session, opened, image, origin, slide, result, events)
            if absent and not result.targets:
                raise InputError(
                    f"none of the slides ({listed(absent)}) is an image of {path}; name a project that "
                    "shows them",
                    target=path,
                )
            if opened.changed:
                with kept_unread(session, opened.project):
                    opened.commit()
            if events:
                _note(session, "pushed", origin, path, old=None, new=(result.pushed, events))
        result.notes += opened.notes
    if absent:
        result.notes.append(f"not in the project: {listed(absent)}")
    return result


def _push_image(
    session: Session,
    opened: OpenedProject,
    image: ProjectImage,
    origin: str,
    slide: SlideObjects,
    result: PushResult,
    events: dict[str, str],
) -> None:
    target = f"{opened.project.path}#{image.number}"
    rows = _rows(session, origin, target)
    if not slide.objects and not rows:
        return
    row = session.get_one(Slide, slide.slide_id)
    frame = frame_of(image, extent_of(row))
    held = opened.read(image)
    change = change_of(held, target, slide, rows, frame)
    result.skipped += change.skipped
    result.targets.append(target)
    if change.forgotten:
        _forget(session, origin, target, change.forgotten)
    if not change.add and not change.remove and not change.recorded:
        return
    to_image = frame.inverse
    drawn = [to_image.place_object(thing) for thing in change.add]
    sha256 = opened.change(held, add=drawn, remove=change.remove)
    _store(session, origin, change, sha256, image)
    result.pushed += len(change.add)
    result.replaced += change.replaced
    result.removed += len(change.remove) - change.replaced
    events[str(image.number)] = sha256


def revert_from_project(
    store: Store, path: Path, origin: str, *, qupath_is_elsewhere: bool
) -> PushResult:
    """As :func:`annotation.push.revert`, out of the images of a project."""
    result = PushResult()
    with opened_for_writing(path, qupath_is_elsewhere=qupath_is_elsewhere) as opened:
        place = f"{opened.project.path}#"
        images = {f"{place}{image.number}": image for image in opened.project.images}
        with store.writing() as session:
            targets = [
                target
                for target in session.scalars(
                    select(PushedObject.target)
                    .where(PushedObject.origin == origin, PushedObject.reverted_at.is_(None))
                    .distinct()
                )
                if target.rpartition("#")[0] + "#" == place
            ]
            if not targets:
                raise UnknownNameError(
                    f"nothing of {origin} stands in {path}; see where it was pushed to in "
                    "`pathquorum audit export`",
                    kind="push",
                    name=origin,
                )
            events: dict[str, str] = {}
            changed: list[str] = []
            for target in sorted(targets):
                rows = _rows(session, origin, target)
                result.targets.append(target)
                _forget(session, origin, target, list(rows))
                if target not in images:
                    result.notes.append(
                        f"{target}: the image is gone, and with it {len(rows)} objects"
                    )
                    continue
                held = opened.read(images[target])
                slide_id = next(iter(rows.values())).slide_id
                frame = frame_of(images[target], extent_of(session.get_one(Slide, slide_id)))
                there = {
                    uuid: frame.place_object(held.objects[uuid])
                    for uuid in rows
                    if uuid in held.objects
                }
                changed += [
                    uuid for uuid, thing in there.items() if is_changed_here(rows[uuid], thing)
                ]
                if there and not changed:
                    sha256 = opened.change(held, add=[], remove=sorted(there))
                    events[str(images[target].number)] = sha256
                result.reverted += len(there)
            if changed:
                raise RefusedError(
                    f"{len(changed)} objects in {path} were changed since the push "
                    f"({listed(changed)}), so nothing was removed; pull what was changed, remove them in "
                    "QuPath and revert again",
                    changed=changed,
                )
            if opened.changed:
                with kept_unread(session, opened.project):
                    opened.commit()
            _note(session, "push reverted", origin, path, old=result.reverted, new=(0, events))
        result.notes += opened.notes
    return result


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


def _rows(session: Session, origin: str, target: str) -> dict[str, PushedObject]:
    found = session.scalars(
        select(PushedObject).where(
            PushedObject.origin == origin,
            PushedObject.target == target,
            PushedObject.reverted_at.is_(None),
        )
    )
    return {row.uuid: row for row in found}


def _forget(session: Session, origin: str, target: str, uuids: Sequence[str]) -> None:
    """Mark records as taken back; they stay."""
    session.execute(
        update(PushedObject)
        .where(
            PushedObject.origin == origin,
            PushedObject.target == target,
            PushedObject.reverted_at.is_(None),
            PushedObject.uuid.in_(uuids),
        )
        .values(reverted_at=now())
    )


def _store(
    session: Session, origin: str, change: ImageChange, sha256: str, image: ProjectImage
) -> None:
    """Record what is about to be in the project, and see that it is recorded."""
    things = [*change.add, *change.recorded]
    if not things:
        return
    outlines = [thing.geometry for thing in things]
    content = {}
    rows: list[dict[str, Any]] = []
    for thing, wkb, digest in zip(
        things, to_wkb(outlines), geometry_digests(outlines), strict=True
    ):
        content[thing.uuid] = (thing.path_class, digest)
        rows.append(
            {
                "uuid": thing.uuid,
                "origin": origin,
                "slide_id": change.slide_id,
                "target": change.target,
                "path_class": thing.path_class,
                "geometry": wkb,
                "geometry_digest": digest,
                "file_sha256": sha256,
            }
        )
    session.execute(insert(PushedObject), rows)
    stored = {
        uuid: (row.path_class, row.geometry_digest)
        for uuid, row in _rows(session, origin, change.target).items()
        if uuid in content
    }
    if stored != content:
        raise RefusedError(
            f"the store does not hold what image {image.name!r} would, so nothing was pushed; check it "
            "with `pathquorum audit verify`",
            target=change.target,
        )


def _note(
    session: Session,
    action: str,
    origin: str,
    path: Path,
    *,
    old: int | None,
    new: tuple[int, dict[str, str]],
) -> None:
    objects, images = new
    record(
        session,
        actor=None,
        action=action,
        subject=f"push:{origin}",
        old=None if old is None else {"objects": old},
        new={"objects": objects, "project": str(path.resolve()), "images": images},
    )
