"""What a push does to an image: prepared, announced in the store, then put in or withdrawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from annotation.distribution.unread_images import settle_states
from annotation.project_changes import change_of, is_changed_here
from annotation.projects.files import ProjectImage
from annotation.projects.image_frames import frame_of
from annotation.projects.project_writing import OpenedProject
from annotation.push_records import announce, forget, records_in_force, withdraw
from annotation.push_result import PushResult
from annotation.recognition import extent_of
from annotation.staged_files import SlideObjects
from annotation.store import Store
from annotation.tables import Slide

__all__ = ["Prepared", "prepare_image", "prepare_revert", "put_in", "target_of"]


@dataclass
class Prepared:
    """What is built and announced, and waits to be put into the project.

    ``announced`` and ``forgotten`` are ids of records, ``images`` the SHA-256 of new data by the
    image's number.
    """

    announced: list[int] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    images: dict[str, str] = field(default_factory=dict)


@contextmanager
def put_in(store: Store, opened: OpenedProject, prepared: Prepared) -> Iterator[Session]:
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


def target_of(opened: OpenedProject, image: ProjectImage) -> str:
    """The name of an image on record."""
    return f"{opened.project.path}#{image.number}"


def prepare_image(
    session: Session,
    opened: OpenedProject,
    image: ProjectImage,
    origin: str,
    slide: SlideObjects,
    result: PushResult,
    prepared: Prepared,
) -> None:
    """Build an image's new data with ours in it, and announce in the store what is new.

    Raises
    ------
    ConflictError
        A person has changed one of ours.
    RefusedError, SourceError
        The image can't be read, or not be written.
    """
    target = target_of(opened, image)
    rows = records_in_force(session, origin, target, slide.slide_id)
    if not len(slide.objects) and not rows:
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


def prepare_revert(
    session: Session,
    opened: OpenedProject,
    target: str,
    slide_id: int,
    origin: str,
    result: PushResult,
    prepared: Prepared,
) -> list[str]:
    """Build an image without ours; returns those of ours that a person has changed."""
    rows = records_in_force(session, origin, target, slide_id)
    result.targets.append(target)
    prepared.forgotten += [row.id for known in rows.values() for row in known]
    number = target.rpartition("#")[2]
    image = next((one for one in opened.project.images if str(one.number) == number), None)
    if image is None:
        result.notes.append(f"{target}: the image is gone, and with it {len(rows)} objects")
        return []
    held = opened.read(image)
    frame = frame_of(image, extent_of(session.get_one(Slide, slide_id)))
    there = {uuid: frame.place_object(held.objects[uuid]) for uuid in rows if uuid in held.objects}
    changed = [uuid for uuid, thing in there.items() if is_changed_here(rows[uuid], thing)]
    if there and not changed:
        prepared.images[number] = opened.change(held, add=[], remove=sorted(there))
    result.reverted += len(there)
    return changed
