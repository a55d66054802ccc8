"""Writing objects for QuPath, into a folder as GeoJSON or into a project, and taking them back.

What is written is recorded, so that it is known when it comes back in a pull and can be taken back
from where it was put.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from annotation.folder_push import push_to_folder, revert_from_folder
from annotation.project_push import push_to_project, revert_from_project
from annotation.push_result import PushResult
from annotation.staged_files import SlideObjects
from annotation.store import Store

__all__ = ["PushResult", "SlideObjects", "is_project", "push", "revert"]

PROJECT_SUFFIX = ".qpproj"


def is_project(target: Path) -> bool:
    """Whether this names a QuPath project, not a folder."""
    return target.suffix.lower() == PROJECT_SUFFIX


def push(
    store: Store,
    target: Path,
    origin: str,
    slides: Iterable[SlideObjects],
    *,
    compress: bool = False,
    qupath_is_elsewhere: bool = False,
) -> PushResult:
    """Write the objects of some slides, all of them or nothing.

    Parameters
    ----------
    target
        A ``.qpproj``, or a folder, which is made where it is missing.
    origin
        Where the objects come from, such as ``run/3``; the key under which they are taken back.
    slides
        Those without objects get no file.
    compress
        Write ``.geojson.gz`` into a folder.
    qupath_is_elsewhere
        A QuPath that runs on this machine has another project open.

    Raises
    ------
    ConflictError
        What is there is not ours, was changed, or holds something else of ours.
    RefusedError
        What was written or stored reads back otherwise, or a project is in use.
    SourceError
        A project, or the data of an image in it, is damaged.
    """
    if is_project(target):
        return push_to_project(
            store, target, origin, slides, qupath_is_elsewhere=qupath_is_elsewhere
        )
    return push_to_folder(store, target, origin, slides, compress=compress)


def revert(
    store: Store, target: Path, origin: str, *, qupath_is_elsewhere: bool = False
) -> PushResult:
    """Take out what was pushed from an origin, all of it or nothing.

    Raises
    ------
    UnknownNameError
        Nothing of that origin was pushed there.
    RefusedError
        Something of it was changed since; it and all others stay. Or a project is in use.
    """
    if is_project(target):
        return revert_from_project(store, target, origin, qupath_is_elsewhere=qupath_is_elsewhere)
    return revert_from_folder(store, target, origin)
