"""Pushing into a QuPath project: our objects beside those of people, and out again.

Ours lie under the root of an image, each under a UUID that is on record. What a person drew is
never touched; one of ours that a person has changed is theirs as well, so it stands in the way
instead of being overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from annotation.distribution.unread_images import announce_states
from annotation.errors import InputError, RefusedError
from annotation.image_push import Prepared, prepare_image, prepare_revert, put_in
from annotation.project_images import images_of
from annotation.projects.project_writing import opened_for_writing
from annotation.push_records import note_push, nothing_there, targets_of
from annotation.push_result import PushResult, listed
from annotation.staged_files import SlideObjects
from annotation.store import Store

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
    prepared = Prepared()
    with opened_for_writing(path, qupath_is_elsewhere=qupath_is_elsewhere) as opened:
        with store.writing() as session:
            images = images_of(session, opened.project)
            for slide in slides:
                image = images.get(slide.slide_id)
                if image is None:
                    absent += [slide.slide_name] if len(slide.objects) else []
                    continue
                prepare_image(session, opened, image, origin, slide, result, prepared)
            if absent and not result.targets:
                raise InputError(
                    f"none of the slides ({listed(absent)}) is an image of {path}; name a project that "
                    "shows them",
                    target=path,
                )
            prepared.unread = announce_states(session, opened.project, opened.new_files())
        with put_in(store, opened, prepared) as session:
            if prepared.images:
                note_push(
                    session, "pushed", origin, path, old=None, new=(result.pushed, prepared.images)
                )
        result.notes += opened.notes
    if absent:
        result.notes.append(f"not in the project: {listed(absent)}")
    return result


def revert_from_project(
    store: Store, path: Path, origin: str, *, qupath_is_elsewhere: bool
) -> PushResult:
    """As :func:`annotation.push.revert`, out of the images of a project."""
    result = PushResult()
    prepared = Prepared()
    with opened_for_writing(path, qupath_is_elsewhere=qupath_is_elsewhere) as opened:
        with store.writing() as session:
            targets = targets_of(session, origin, opened.project.path)
            if not targets:
                raise nothing_there(origin, opened.project.path)
            changed: list[str] = []
            for target, slide_id in targets:
                changed += prepare_revert(
                    session, opened, target, slide_id, origin, result, prepared
                )
            if changed:
                raise RefusedError(
                    f"{len(changed)} objects in {path} were changed since the push "
                    f"({listed(changed)}), so nothing was removed; pull what was changed, remove them in "
                    "QuPath and revert again",
                    changed=changed,
                )
            prepared.unread = announce_states(session, opened.project, opened.new_files())
        with put_in(store, opened, prepared) as session:
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
