"""Making a QuPath project, and adding images to one, without opening any image.

A project's file and its list of classes are JSON and are written here; only the objects that an
image begins with need QuPath. How to read an image is left to the QuPath that opens it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotation.errors import ConflictError, InputError, SourceError
from annotation.projects.column_writing import packed
from annotation.projects.files import SUMMARY_NAME
from annotation.projects.process import QuPathProcess
from annotation.records import PathObject

__all__ = ["NewImage", "add_images", "create_project"]

PROJECT_FILE = "project.qpproj"
VERSION = "0.4.0"
"""The oldest QuPath that can open what is written here."""


@dataclass(frozen=True)
class NewImage:
    """An image to put into a project.

    Attributes
    ----------
    name
        As QuPath shows it.
    uri
        ``file:`` URI of the image.
    objects
        What it holds from the start, a UUID each.
    metadata
        What QuPath shows in its list of images.
    provider
        The class by which QuPath has to read it; None leaves that to QuPath.
    """

    name: str
    uri: str
    objects: Sequence[PathObject] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    provider: str | None = None


def create_project(
    folder: Path,
    images: Sequence[NewImage],
    *,
    classes: Sequence[tuple[str, tuple[int, int, int] | None]],
    process: QuPathProcess,
    extra_files: Mapping[str, bytes] | None = None,
) -> Path:
    """Make a project in a folder of its own, all of it or nothing.

    Parameters
    ----------
    folder
        May exist if it holds no project; what else lies in it stays.
    classes
        Names and colours (r, g, b) in the order in which QuPath lists them.
    extra_files
        Files to put beside the project's, by name.

    Returns
    -------
    Path
        The project.qpproj.

    Raises
    ------
    ConflictError
        There is a project, or one of the files, already.
    InputError
        QuPath would not keep an object as it is.
    QuPathMissingError
        An image has objects, and there is no QuPath to write them.
    """
    extra = dict(extra_files or {})
    names = [PROJECT_FILE, "data", "classifiers", *extra]
    taken = [name for name in names if (folder / name).exists()]
    if taken:
        raise ConflictError(
            f"{folder} holds a {taken[0]} already, and nothing was written; name another folder",
            target=folder,
        )
    folder.mkdir(parents=True, exist_ok=True)
    colors = {name: None if rgb is None else packed(rgb) for name, rgb in classes}
    now_ms = int(time.time() * 1000)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".new.") as hidden:
        new = Path(hidden)
        entries = [
            _entry(new, number, image, process, colors)
            for number, image in enumerate(images, start=1)
        ]
        (new / "data").mkdir(exist_ok=True)
        (new / "classifiers").mkdir()
        listed = [{"name": name, **_color(color)} for name, color in colors.items()]
        _write_json(new / "classifiers" / "classes.json", {"pathClasses": listed})
        for name, data in extra.items():
            (new / name).write_bytes(data)
        content = {
            "version": VERSION,
            "createTimestamp": now_ms,
            "modifyTimestamp": now_ms,
            "uri": (folder.resolve() / PROJECT_FILE).as_uri(),
            "lastID": len(entries),
            "images": entries,
        }
        _write_json(new / PROJECT_FILE, content)
        # The project's file comes last: until it is there, there is no project.
        for name in ("data", "classifiers", *extra, PROJECT_FILE):
            (new / name).replace(folder / name)
    return folder / PROJECT_FILE


def add_images(project: Path, images: Sequence[NewImage], *, process: QuPathProcess) -> list[int]:
    """Add images to a project; what is in it stays as it is.

    Returns
    -------
    list of int
        The entry ids of the new images.

    Raises
    ------
    SourceError
        It is no project, or was changed while images were added.
    ConflictError
        The folder of a new image is there already.
    """
    before = project.read_bytes()
    try:
        content = json.loads(before)
        entries, last = content["images"], int(content.get("lastID", 0))
        last = max([last, *(int(entry["entryID"]) for entry in entries)])
    except (ValueError, TypeError, LookupError):
        raise SourceError(f"{project.name} is no QuPath project", file=project.name) from None
    numbers = list(range(last + 1, last + 1 + len(images)))
    for number in numbers:
        if (project.parent / "data" / str(number)).exists():
            raise ConflictError(
                f"{project.parent / 'data' / str(number)} is there and belongs to no image; "
                "move it, then add images again",
                target=project,
            )
    with tempfile.TemporaryDirectory(dir=project.parent, prefix=".new.") as hidden:
        new = Path(hidden)
        added = [
            _entry(new, number, image, process, {})
            for number, image in zip(numbers, images, strict=True)
        ]
        content["images"] = [*entries, *added]
        content["lastID"] = numbers[-1] if numbers else last
        content["modifyTimestamp"] = int(time.time() * 1000)
        _write_json(new / PROJECT_FILE, content)
        if project.read_bytes() != before:
            raise SourceError(
                f"{project.name} was changed while images were added; close it in QuPath and try "
                "again",
                file=project.name,
            )
        for number in numbers:
            if (new / "data" / str(number)).exists():
                (project.parent / "data").mkdir(exist_ok=True)
                (new / "data" / str(number)).replace(project.parent / "data" / str(number))
        shutil.copy2(project, project.with_name(project.name + ".backup"))
        (new / PROJECT_FILE).replace(project)
    return numbers


def _entry(
    folder: Path,
    number: int,
    image: NewImage,
    process: QuPathProcess,
    colors: Mapping[str, int | None],
) -> dict[str, Any]:
    """One image of a project's file; its objects are written below ``folder``."""
    if not image.name.strip():
        raise InputError(f"image {number} of a project has no name; give it one")
    server: dict[str, Any] = {"builderType": "uri", "uri": image.uri, "args": []}
    if image.provider is not None:
        server["providerClassName"] = image.provider
    if image.objects:
        written = process.write(None, server=server, add=image.objects, class_colors=colors)
        place = folder / "data" / str(number)
        place.mkdir(parents=True)
        (place / "data.qpdata").write_bytes(written.data)
        summary = {"timestamp": int(time.time() * 1000), "hierarchy": written.hierarchy}
        _write_json(place / SUMMARY_NAME, summary)
    return {
        "serverBuilder": server,
        "entryID": number,
        "randomizedName": image.name,
        "imageName": image.name,
        **({"description": image.description} if image.description else {}),
        "metadata": dict(image.metadata),
    }


def _color(color: int | None) -> dict[str, int]:
    return {} if color is None else {"color": color}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
