"""The files of a QuPath project, read without QuPath and never written.

QuPath itself is never given the project: to open one creates folders in it, and to save one that
was damaged makes the damage final. What it is given, later, are the bytes of ``data.qpdata``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from annotation.errors import SourceError

__all__ = ["DataSummary", "ProjectFile", "ProjectImage", "read_project", "version_numbers"]

DATA_NAME = "data.qpdata"
SUMMARY_NAME = "summary.json"

_MAGIC = b"\xac\xed\x00\x05"
# Java's serialization magic, then a block of data that begins with QuPath's own words.
_DATA_BEGINS = re.compile(rb"\xac\xed\x00\x05w.\x00.Data file version \d", re.DOTALL)
# The last thing that QuPath writes: the string "EOF" as an object.
_DATA_ENDS = b"t\x00\x03EOF"
_WRITTEN_BY = re.compile(rb'"qupathVersion"\s*:\s*"([^"]{1,40})"')
_HEAD_BYTES = 4096


@dataclass(frozen=True)
class DataSummary:
    """What ``summary.json`` says of an image's data.

    ``objects`` doesn't count the root; None where there is no ``summary.json``.
    """

    objects: int | None
    modified: datetime


@dataclass(frozen=True)
class ProjectImage:
    """One image of a project.

    ``number`` is its entry id. ``file_name`` is the last part of the image's URI, without the
    folders; None where it has none. ``server`` says how QuPath makes the image.
    """

    project: str
    number: int
    name: str
    file_name: str | None
    metadata: dict[str, str]
    folder: Path
    server: dict[str, Any] = field(repr=False)

    @property
    def data(self) -> Path:
        """The file that holds the image's objects, once somebody has saved some."""
        return self.folder / DATA_NAME

    def fault(self, what: str, next_step: str) -> SourceError:
        """An error of one line that names the image and its project."""
        return SourceError(
            f"{self.project}: image {self.name!r}: {what}; {next_step}",
            file=self.project,
            image=self.name,
        )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Turn what the system says of the image's files into one line."""
        try:
            yield
        except OSError as error:
            raise self.fault(
                f"its {DATA_NAME} can't be read ({error.strerror})", "check its permissions"
            ) from error

    def opened(self) -> bool:
        """Whether anything was ever saved for this image.

        Raises
        ------
        SourceError
            It was, and the file is gone.
        """
        if self.data.is_file():
            return True
        if self._backup.is_file():
            raise self.fault(f"its {DATA_NAME} is gone, a save was interrupted", self._bring_back())
        return False

    def refuse_saving(self) -> None:
        """Refuse an image that QuPath is just saving, or was stopped while it did.

        Raises
        ------
        SourceError
            The copy that QuPath keeps for the time of a save is there.
        """
        if self._backup.is_file():
            raise self.fault(
                f"{self._backup.name} is there, so QuPath is saving it or was stopped while it did",
                "open the image in QuPath, check it and save it",
            )

    def check_data(self) -> str | None:
        """Find out, before QuPath does, whether the data is whole.

        Returns
        -------
        The version of QuPath that wrote it; None where the data doesn't say.

        Raises
        ------
        SourceError
            It is cut short or something else.
        """
        with self.reading(), self.data.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            size = file.seek(0, 2)
            file.seek(max(0, size - len(_DATA_ENDS)))
            tail = file.read()
        if head.startswith(_MAGIC) and tail != _DATA_ENDS:
            raise self.fault(
                f"its {DATA_NAME} is cut short at {size:,} bytes, or just being saved",
                self._bring_back(),
            )
        if not _DATA_BEGINS.match(head):
            raise self.fault(f"its {DATA_NAME} is no QuPath data", self._bring_back())
        written_by = _WRITTEN_BY.search(head)
        return written_by.group(1).decode("ascii", "replace") if written_by else None

    def summary(self) -> DataSummary:
        """What the project knows of the data without reading it."""
        path = self.folder / SUMMARY_NAME
        saved = datetime.fromtimestamp(self.data.stat().st_mtime, UTC)
        if not path.is_file():
            return DataSummary(None, saved)
        try:
            content = json.loads(path.read_bytes())
            objects = int(content["hierarchy"]["nObjects"]) - 1
            if "timestamp" in content:
                saved = datetime.fromtimestamp(content["timestamp"] / 1000, UTC)
        except (ValueError, TypeError, LookupError, OverflowError, OSError):
            raise self.fault(
                "its summary.json can't be read", "open the image in QuPath and save it again"
            ) from None
        return DataSummary(objects, saved)

    @property
    def _backup(self) -> Path:
        return self.data.with_name(DATA_NAME + ".bkp")

    def _bring_back(self) -> str:
        if self._backup.is_file():
            return f"QuPath's last good copy stands beside it, rename {self._backup.name} to {DATA_NAME}"
        return "save the image in QuPath and pull again, or bring the file back from a backup"


@dataclass(frozen=True)
class ProjectFile:
    """A ``.qpproj`` file.

    ``class_colors`` holds signed ARGB integers, as QuPath keeps them. ``uri`` is where QuPath last
    saved the project.
    """

    path: Path
    version: str | None
    uri: str | None
    modified: datetime
    images: tuple[ProjectImage, ...]
    class_colors: dict[str, int | None]


def read_project(path: Path) -> ProjectFile:
    """Read a ``.qpproj`` file and the colours of its classes.

    Raises
    ------
    SourceError
        It is no project, or parts of it are missing or contradict each other.
    """
    content = _read_json(path)
    entries = content.get("images")
    if not isinstance(entries, list):
        raise _no_project(path)
    try:
        images = tuple(_image(path, entry) for entry in entries)
    except (TypeError, ValueError, LookupError, AttributeError):
        raise _no_project(path) from None
    _refuse_shared_data(path, images)
    if images and not (path.parent / "data").is_dir():
        raise SourceError(
            f"{path.name}: the folder 'data' is not beside it; copy the whole project folder, "
            "not the .qpproj file alone",
            file=path.name,
        )
    version = content.get("version")
    return ProjectFile(
        path=path,
        version=version if isinstance(version, str) else None,
        uri=content["uri"] if isinstance(content.get("uri"), str) else None,
        modified=datetime.fromtimestamp(path.stat().st_mtime, UTC),
        images=images,
        class_colors=_class_colors(path.parent / "classifiers" / "classes.json"),
    )


def version_numbers(version: str | None) -> tuple[int, ...]:
    """``0.6.0-rc3`` as (0, 6, 0), to compare; empty where nothing is known."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", version or "")
    return tuple(int(number) for number in found.group(1).split(".")) if found else ()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(
            f"{path.name} can't be read ({error.strerror}); check the path and its permissions",
            file=path.name,
        ) from error
    except (ValueError, RecursionError):
        raise _no_project(path) from None
    if not isinstance(content, dict):
        raise _no_project(path)
    return content


def _no_project(path: Path) -> SourceError:
    return SourceError(
        f"{path.name} is no QuPath project; name the project.qpproj that QuPath wrote",
        file=path.name,
    )


def _image(path: Path, entry: dict[str, Any]) -> ProjectImage:
    number = entry["entryID"]
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise ValueError(number)
    builders = list(_builders(entry.get("serverBuilder")))
    uri = next((b["uri"] for b in builders if isinstance(b.get("uri"), str)), None)
    name = entry.get("imageName")
    return ProjectImage(
        project=path.name,
        number=number,
        name=name if isinstance(name, str) else f"Image {number}",
        file_name=_file_name(uri),
        metadata={
            str(key): str(value)
            for key, value in (entry.get("metadata") or {}).items()
            if value is not None
        },
        folder=path.parent / "data" / str(number),
        server=entry.get("serverBuilder") or {},
    )


def _builders(builder: Any) -> Iterator[dict[str, Any]]:
    """How QuPath makes the image: a builder, and the one that it wraps, and so on."""
    while isinstance(builder, dict):
        yield builder
        builder = builder.get("builder")


def _file_name(uri: str | None) -> str | None:
    if uri is None:
        return None
    # Names on disk may hold ? and #; in a URI they are percent-encoded.
    place = re.split(r"[?#]", uri, maxsplit=1)[0]
    return unquote(place).replace("\\", "/").rsplit("/", 1)[-1] or None


def _refuse_shared_data(path: Path, images: tuple[ProjectImage, ...]) -> None:
    owner: dict[Path, ProjectImage] = {}
    for image in images:
        other = owner.setdefault(image.folder, image)
        if other is not image:
            raise SourceError(
                f"{path.name}: images {other.name!r} and {image.name!r} share the folder "
                f"data/{image.folder.name}, so whose objects it holds is unknown; "
                "export the objects of each as GeoJSON",
                file=path.name,
            )


def _class_colors(path: Path) -> dict[str, int | None]:
    if not path.is_file():
        return {}
    try:
        classes = json.loads(path.read_bytes()).get("pathClasses") or []
        named = [entry for entry in classes if isinstance(entry.get("name"), str)]
        return {
            entry["name"]: entry["color"] if isinstance(entry.get("color"), int) else None
            for entry in named
        }
    except (ValueError, AttributeError, TypeError):
        raise SourceError(
            f"{path.name} of the project can't be read; open the project in QuPath and save it",
            file=path.name,
        ) from None
