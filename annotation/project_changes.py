"""What a push changes in one image, so that it holds these objects of ours and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from annotation.digests import geometry_digests
from annotation.errors import ConflictError
from annotation.frames import Frame
from annotation.projects.project_writing import ImageObjects
from annotation.push_result import listed
from annotation.pushed import is_changed, same_outline
from annotation.records import PathObject
from annotation.staged_files import SlideObjects
from annotation.tables import PushedObject

__all__ = ["ImageChange", "change_of", "is_changed_here"]


@dataclass
class ImageChange:
    """What a push does to one image: what goes in, what goes out, and what is on record of it.

    ``remove`` holds UUIDs, ``forgotten`` ids of records that no longer hold once it is done.
    """

    target: str
    slide_id: int
    add: list[PathObject] = field(default_factory=list)
    remove: list[str] = field(default_factory=list)
    recorded: list[PathObject] = field(default_factory=list)
    forgotten: list[int] = field(default_factory=list)
    skipped: int = 0
    replaced: int = 0


def change_of(
    held: ImageObjects,
    target: str,
    slide: SlideObjects,
    rows: Mapping[str, Sequence[PushedObject]],
    frame: Frame,
) -> ImageChange:
    """What has to change so that the image holds these objects of ours and no others.

    Parameters
    ----------
    frame
        From the image's coordinates to the slide's, in which ours are.

    Raises
    ------
    ConflictError
        A person has changed one of ours, or an object that is not ours has its UUID.
    """
    change = ImageChange(target, slide.slide_id)
    new = {str(thing.uuid): thing for thing in slide.objects}
    theirs: list[str] = []
    for uuid, thing in new.items():
        there, known = _on_slide(held, uuid, frame), rows.get(uuid, ())
        if there is None:
            change.add.append(thing)
            change.forgotten += [row.id for row in known]
        elif there.path_class == thing.path_class and same_outline(there.geometry, thing.geometry):
            change.skipped += 1
            change.recorded += [] if known else [thing]
        elif known and not is_changed_here(known, there):
            change.add.append(thing)
            change.remove.append(uuid)
            change.forgotten += [row.id for row in known]
            change.replaced += 1
        else:
            theirs.append(uuid)
    for uuid in rows.keys() - new.keys():
        there = _on_slide(held, uuid, frame)
        if there is not None and is_changed_here(rows[uuid], there):
            theirs.append(uuid)
            continue
        change.forgotten += [row.id for row in rows[uuid]]
        change.remove += [uuid] if there is not None else []
    if theirs:
        raise ConflictError(
            f"image {held.image.name!r} of {held.image.project} holds objects of this push that were "
            f"changed since ({listed(sorted(theirs))}), so they stay and nothing was pushed; pull what "
            "was changed, then remove them in QuPath and push again",
            target=target,
        )
    return change


def _on_slide(held: ImageObjects, uuid: str, frame: Frame) -> PathObject | None:
    there = held.objects.get(uuid)
    return None if there is None else frame.place_object(there)


def is_changed_here(rows: Sequence[PushedObject], there: PathObject) -> bool:
    """Whether a person has changed one of ours, given as it lies on the slide."""
    (digest,) = geometry_digests([there.geometry])
    return is_changed(rows, there, digest)
