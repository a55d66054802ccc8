"""Writing objects for QuPath one slide after the other, and taking them back.

A run of predictions has hundreds of slides and millions of objects. Pushed all or none, they would
have to be held in memory at once, and one damaged image would keep all others waiting. So each slide
is pushed whole or not at all: whoever is stopped and begins again finds the finished slides done,
and a slide that fails is named while the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from annotation.distribution.unread_images import announce_states
from annotation.errors import (
    ConflictError,
    InputError,
    PathquorumError,
    QuPathMissingError,
    RefusedError,
    StoreError,
)
from annotation.folder_push import push_to_folder, revert_from_folder
from annotation.image_push import Prepared, prepare_image, prepare_revert, put_in, target_of
from annotation.project_images import images_of
from annotation.projects.files import ProjectImage
from annotation.projects.project_writing import OpenedProject, opened_for_writing
from annotation.push import is_project
from annotation.push_records import note_push, nothing_there, targets_of
from annotation.push_result import PushResult, listed
from annotation.records import PathObject
from annotation.staged_files import SlideObjects
from annotation.store import Store
from annotation.terminal import one_line

__all__ = ["SlideToPush", "push_by_slide", "revert_by_slide"]


@dataclass(frozen=True)
class SlideToPush:
    """A slide, and how its objects are had once it is its turn.

    ``metadata`` are entries of the image's metadata, under keys that nobody else uses.
    """

    slide_id: int
    slide_name: str
    metadata: Mapping[str, str]
    load: Callable[[], Sequence[PathObject]]

    def loaded(self) -> SlideObjects:
        """The slide with its objects."""
        return SlideObjects(self.slide_id, self.slide_name, self.load(), self.metadata)


def push_by_slide(
    store: Store,
    target: Path,
    origin: str,
    slides: Sequence[SlideToPush],
    *,
    compress: bool = False,
    qupath_is_elsewhere: bool = False,
) -> PushResult:
    """Write the objects of each slide, and into a project its metadata.

    Parameters
    ----------
    target, origin, compress, qupath_is_elsewhere
        As in :func:`annotation.push.push`.

    Returns
    -------
    PushResult
        With the slides that failed, and those that the project doesn't show.

    Raises
    ------
    InputError
        The project shows none of the slides.
    RefusedError
        A project is in use.
    StoreError, QuPathMissingError, SourceError
        Nothing can be done at all.
    """
    result = PushResult()
    if not is_project(target):
        for slide in slides:
            with _named_if_it_fails(slide.slide_name, result):
                one = push_to_folder(store, target, origin, [slide.loaded()], compress=compress)
                result.add(one)
        return result
    with opened_for_writing(target, qupath_is_elsewhere=qupath_is_elsewhere) as opened:
        with store.reading() as session:
            images = images_of(session, opened.project)
        result.skipped_slides += [s.slide_name for s in slides if s.slide_id not in images]
        if slides and len(result.skipped_slides) == len(slides):
            raise InputError(
                f"none of the slides ({listed(result.skipped_slides)}) is an image of {target}; name "
                "a project that shows them",
                target=target,
            )
        for slide in slides:
            if slide.slide_id in images:
                with _named_if_it_fails(slide.slide_name, result, opened):
                    image = images[slide.slide_id]
                    result.add(_push_image(store, opened, image, origin, slide.loaded()))
        result.notes += opened.notes
    return result


def revert_by_slide(
    store: Store,
    target: Path,
    origin: str,
    slides: Sequence[SlideToPush],
    *,
    qupath_is_elsewhere: bool = False,
) -> PushResult:
    """Take out what was pushed of each slide; files of a folder all at once.

    Raises
    ------
    UnknownNameError
        Nothing of that origin was pushed there.
    RefusedError
        A file of the folder was changed since, or a project is in use.
    """
    if not is_project(target):
        return revert_from_folder(store, target, origin)
    result = PushResult()
    with opened_for_writing(target, qupath_is_elsewhere=qupath_is_elsewhere) as opened:
        with store.reading() as session:
            images = images_of(session, opened.project)
            places = dict(targets_of(session, origin, opened.project.path))
        names = {slide.slide_id: slide.slide_name for slide in slides}
        scores: dict[str, tuple[ProjectImage, Mapping[str, str]]] = {}
        for slide in slides:
            image = images.get(slide.slide_id)
            if image is not None and slide.metadata.keys() & image.metadata.keys():
                place = target_of(opened, image)
                scores[place] = image, slide.metadata
                places.setdefault(place, slide.slide_id)
        if not places:
            raise nothing_there(origin, opened.project.path)
        for place, slide_id in sorted(places.items()):
            name = names.get(slide_id, place)
            with _named_if_it_fails(name, result, opened):
                result.add(
                    _revert_image(store, opened, (place, slide_id), origin, scores.get(place))
                )
        result.notes += opened.notes
    return result


@contextmanager
def _named_if_it_fails(
    name: str, result: PushResult, opened: OpenedProject | None = None
) -> Iterator[None]:
    """Note why a slide failed, and let the others go on; what holds for all of them goes on up."""
    try:
        yield
    except (StoreError, QuPathMissingError):
        raise
    except (PathquorumError, OSError) as error:
        if opened is not None:
            opened.undo()
        result.failed.append({"slide": name, "reason": one_line(str(error))})


def _push_image(
    store: Store, opened: OpenedProject, image: ProjectImage, origin: str, slide: SlideObjects
) -> PushResult:
    result, prepared = PushResult(), Prepared()
    entries = _new_entries(image, slide.metadata)
    with store.writing() as session:
        prepare_image(session, opened, image, origin, slide, result, prepared)
        if entries:
            opened.change_metadata(image, entries)
        prepared.unread = announce_states(session, opened.project, opened.new_files())
    with put_in(store, opened, prepared) as session:
        if prepared.images or entries:
            note_push(
                session,
                "pushed",
                origin,
                opened.project.path,
                old=None,
                new=(result.pushed, prepared.images),
                metadata={str(image.number): entries} if entries else None,
            )
    opened.done()
    if slide.metadata and not result.targets:
        result.targets.append(target_of(opened, image))
    return result


def _new_entries(image: ProjectImage, wanted: Mapping[str, str]) -> dict[str, str | None]:
    """The entries of an image's metadata that are not there yet."""
    _refuse_changed(image, wanted)
    return {key: value for key, value in wanted.items() if key not in image.metadata}


def _refuse_changed(image: ProjectImage, ours: Mapping[str, str]) -> None:
    for key, value in ours.items():
        if image.metadata.get(key, value) != value:
            raise ConflictError(
                f"image {image.name!r} of {image.project} has {key!r} in its metadata with the value "
                f"{image.metadata[key]!r}, which is not what was predicted, so nothing of it was "
                "touched; take that key out in QuPath and try again",
                image=image.name,
            )


def _revert_image(
    store: Store,
    opened: OpenedProject,
    place: tuple[str, int],
    origin: str,
    scores: tuple[ProjectImage, Mapping[str, str]] | None,
) -> PushResult:
    result, prepared = PushResult(), Prepared()
    target, slide_id = place
    entries: dict[str, str | None] = {}
    with store.writing() as session:
        changed = prepare_revert(session, opened, target, slide_id, origin, result, prepared)
        if changed:
            raise RefusedError(
                f"{len(changed)} objects in {target} were changed since the push "
                f"({listed(changed)}), so nothing of it was removed; pull what was changed, remove "
                "them in QuPath and revert again",
                changed=changed,
            )
        if scores is not None:
            image, metadata = scores
            _refuse_changed(image, metadata)
            entries = dict.fromkeys(sorted(metadata.keys() & image.metadata.keys()))
            opened.change_metadata(image, entries)
        prepared.unread = announce_states(session, opened.project, opened.new_files())
    with put_in(store, opened, prepared) as session:
        note_push(
            session,
            "push reverted",
            origin,
            opened.project.path,
            old=result.reverted,
            new=(0, prepared.images),
            metadata={target.rpartition("#")[2]: entries} if entries else None,
        )
    opened.done()
    return result
