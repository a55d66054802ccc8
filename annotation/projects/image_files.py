"""Where an image of a project lies on this machine.

A project names its images by URI, written on whatever machine last saved it. Windows and Mac paths,
shares and moved folders come up; what is named over a network is never fetched, no server is called
that a project file alone names, and nothing is looked for outside the place named, the project's own
surroundings, and the folder that the user names for slides.
"""

from __future__ import annotations

import ntpath
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from urllib.parse import unquote, urlsplit

from annotation.projects.files import ProjectFile, ProjectImage

__all__ = ["FoundImage", "find_image", "path_of_uri", "uri_of"]

_MOST_FOLDERS = 100_000


@dataclass(frozen=True)
class FoundImage:
    """A file, and how it was found: ``as named``, ``beside the project`` or ``by name``."""

    path: Path
    how: str


def uri_of(image: ProjectImage) -> str | None:
    """The URI of an image's file; None where it has none, or several."""
    builder: object = image.server
    while isinstance(builder, dict):
        if isinstance(builder.get("uri"), str):
            return str(builder["uri"])
        builder = builder.get("builder")
    return None


def path_of_uri(uri: str) -> PurePath | None:
    """The path that a ``file:`` URI or a plain path names, of whatever system; None for others.

    ``file:/C:/a b.svs`` and ``C:\\\\a.svs`` are Windows paths, ``file://server/share/a.svs`` names
    a share.
    """
    if re.match(r"[A-Za-z]:[\\/]", uri) or uri.startswith("\\\\"):
        return PureWindowsPath(uri)
    if uri.startswith("/"):
        return PurePosixPath(uri)
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme != "file":
        return None
    path = unquote(parts.path)
    if "\0" in path or not path:
        return None
    if parts.netloc not in ("", "localhost"):
        return PureWindowsPath(f"//{unquote(parts.netloc)}{path}")
    if re.match(r"/[A-Za-z]:[\\/]", path):
        return PureWindowsPath(path[1:])
    return PurePosixPath(path)


def find_image(
    project: ProjectFile, image: ProjectImage, *, slides_root: Path | None = None
) -> FoundImage | str:
    """The image's file, or one line that says why there is none.

    Parameters
    ----------
    slides_root
        A folder below which to look for a file of that name, links not followed out of it.
    """
    uri = uri_of(image)
    if uri is None:
        return "it names no file"
    named = path_of_uri(uri)
    if named is None:
        return f"it lies at {uri.split(':', 1)[0]}:, which is not fetched"
    is_ours = isinstance(named, type(PurePath())) and not _on_another_share(named, project.path)
    here = Path(named) if is_ours else None
    if here is not None and here.is_file():
        return FoundImage(here, "as named")
    for moved in _moved_along(project, named):
        if moved.is_file():
            return FoundImage(moved, "beside the project")
    if slides_root is not None:
        found = _below(slides_root, named.name)
        if found is None:
            return (
                f"{slides_root} holds more than {_MOST_FOLDERS:,} folders, too many to look through"
            )
        if len(found) == 1:
            return FoundImage(found[0], "by name")
        if found:
            return f"{len(found)} files below {slides_root} are named {named.name!r}"
    return f"{named} is not there"


def _on_another_share(named: PurePath, project: PurePath) -> bool:
    """Whether a path names a server that the project doesn't lie on: to look would be to call it."""
    drive = named.drive
    return drive.startswith("\\\\") and drive.lower() != project.drive.lower()


def _moved_along(project: ProjectFile, named: PurePath) -> Iterator[Path]:
    """Where the image would be if it was moved together with the project."""
    was = path_of_uri(project.uri) if project.uri else None
    if was is None or type(was) is not type(named):
        return
    system = ntpath if isinstance(named, PureWindowsPath) else posixpath
    try:
        relative = system.relpath(str(named), str(was.parent))
    except ValueError:  # on another drive
        return
    parts = PureWindowsPath(relative) if system is ntpath else PurePosixPath(relative)
    yield Path(os.path.normpath(project.path.parent.joinpath(*parts.parts)))


def _below(root: Path, name: str) -> list[Path] | None:
    """Files of a name below a folder; None where there are too many folders to look through."""
    found: list[Path] = []
    for visited, (folder, folders, files) in enumerate(os.walk(root)):
        if visited >= _MOST_FOLDERS:
            return None
        folders.sort()
        if name in files:
            path = (Path(folder) / name).resolve()
            if path.is_relative_to(root.resolve()):
                found.append(path)
    return found
