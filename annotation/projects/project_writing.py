"""Changing the objects of a project's images, so that nothing of anybody is lost to it.

Everything is read, built and read back before anything in the project changes; then all images
change at one moment (:mod:`annotation.projects.exchange`). What a person drew is compared before and
after, object by object.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from annotation.errors import RefusedError
from annotation.projects.column_reading import batch_of
from annotation.projects.columns import ObjectColumns
from annotation.projects.exchange import Exchange
from annotation.projects.files import (
    DATA_NAME,
    SUMMARY_NAME,
    ProjectFile,
    ProjectImage,
    read_project,
    version_numbers,
)
from annotation.projects.folder_exchange import digest_of, replace_file
from annotation.projects.image_files import find_image
from annotation.projects.image_metadata import with_metadata
from annotation.projects.process import QuPathProcess
from annotation.projects.project_lock import project_lock, refuse_open_windows
from annotation.projects.recovery import recover, recovery_notes
from annotation.records import PathObject

__all__ = ["ImageObjects", "OpenedProject", "opened_for_writing"]

FLOAT32_PX = 0.05
"""QuPath keeps vertices as float32: up to 0.016 px beside what was written at 2^17 px."""

_ROOM_BYTES = 40_000_000
"""Room for what is pushed; data of an image is seldom larger."""


@dataclass(frozen=True)
class ImageObjects:
    """What one image holds: its objects by UUID, with their digests; ``data`` None if never opened."""

    image: ProjectImage
    data: bytes | None
    objects: dict[str, PathObject]
    digests: dict[str, bytes]


@dataclass
class OpenedProject:
    """A project that is locked, and checked to be written; ``notes`` are for the person."""

    project: ProjectFile
    process: QuPathProcess
    notes: list[str] = field(default_factory=list)
    _digest: str = ""
    _exchange: Exchange | None = None
    _files: dict[str, bytes] = field(default_factory=dict)
    _seen: dict[Path, str | None] = field(default_factory=dict)
    _metadata: dict[int, dict[str, str | None]] = field(default_factory=dict)
    _before: bytes | None = None

    def read(self, image: ProjectImage) -> ImageObjects:
        """What an image holds now.

        Raises
        ------
        SourceError
            Its data is cut short or damaged, or has other objects than its summary.
        RefusedError
            It was written by a newer QuPath than the one that is here.
        """
        if not image.opened():
            self._seen[image.data] = None
            return ImageObjects(image, None, {}, {})
        image.refuse_saving()
        self._check_version(image.check_data(), image)
        with image.reading():
            data = image.data.read_bytes()
        self._seen[image.data] = _sha256(data)
        held = self._content(image, data)
        expected = image.summary().objects
        if expected is not None and expected != len(held.objects):
            raise image.fault(
                f"{len(held.objects)} objects of {expected} come out of its data",
                "open the image in QuPath, check it and save it",
            )
        return held

    def _check_version(self, written_by: str | None, image: ProjectImage) -> None:
        for version in (written_by, self.project.version):
            if version_numbers(version) > version_numbers(self.process.version):
                raise RefusedError(
                    f"{image.project}: image {image.name!r} was written by QuPath {version}, and QuPath "
                    f"{self.process.version} would drop what it doesn't know; set PAQUO_QUPATH_DIR to a "
                    f"QuPath {version} or newer, or push to a folder",
                    image=image.name,
                )

    def _content(self, image: ProjectImage, data: bytes) -> ImageObjects:
        objects: dict[str, PathObject] = {}
        digests: dict[str, bytes] = {}
        for header, payload in self.process.read(data, self.project.class_colors):
            if "fault" in header:
                raise image.fault(
                    f"its data can't be read ({header['fault']})", "check it in QuPath and save it"
                )
            if "columns" not in header:
                continue
            batch = batch_of(ObjectColumns.received(header["columns"], payload))
            if batch.rejections:
                first = batch.rejections[0]
                raise image.fault(
                    f"object {first.id} can't be read ({first.reason}), and what can't be compared "
                    "is not written",
                    "mend or remove it in QuPath",
                )
            for thing, digest in zip(batch.objects, batch.content_digests, strict=True):
                if thing.uuid in objects:
                    raise image.fault(
                        f"two objects have the UUID {thing.uuid}", "remove one in QuPath"
                    )
                objects[str(thing.uuid)] = thing
                digests[str(thing.uuid)] = digest
        return ImageObjects(image, data, objects, digests)

    def change(
        self, held: ImageObjects, *, add: Sequence[PathObject], remove: Sequence[str]
    ) -> str:
        """Build an image's new data and read it back; nothing in the project changes yet.

        Returns
        -------
        str
            SHA-256 of the new data.

        Raises
        ------
        RefusedError
            What was built reads back otherwise than it should.
        """
        image = held.image
        if isinstance(found := find_image(self.project, image), str):
            raise image.fault(
                f"its image can't be found ({found}), and QuPath would not save it either",
                "put the image back, or mend its path in QuPath (Project > Check project URIs)",
            )
        written = self.process.write(
            held.data,
            server=image.server,
            add=add,
            remove=remove,
            class_colors=self.project.class_colors,
        )
        self._compare(held, self._content(image, written.data), add, set(remove))
        place = f"{image.number}/"
        self._files[place + DATA_NAME] = written.data
        self._files[place + SUMMARY_NAME] = _summary(image, written.hierarchy)
        return _sha256(written.data)

    def _compare(
        self, before: ImageObjects, after: ImageObjects, add: Sequence[PathObject], gone: set[str]
    ) -> None:
        """A person's objects are what they were, ours are what is stored, and there is nothing else."""
        image = before.image
        ours = {str(thing.uuid): thing for thing in add}
        expected = (before.objects.keys() - gone) | ours.keys()
        if after.objects.keys() != expected:
            raise _otherwise(image, f"{len(after.objects)} objects, not {len(expected)}")
        for uuid in before.objects.keys() - gone:
            parent = _parent_left(before, uuid, gone)
            if after.digests[uuid] != before.digests[uuid] or after.objects[uuid].parent != parent:
                raise _otherwise(image, f"object {uuid}, which stays")
        pairs = [(thing, after.objects[uuid]) for uuid, thing in ours.items()]
        for thing, back in pairs:
            told = ("object_type", "path_class", "name", "locked", "z", "t", "c", "parent")
            if any(getattr(thing, name) != getattr(back, name) for name in told):
                raise _otherwise(image, f"object {thing.uuid}, which is new")
        for (thing, _), same in zip(pairs, _same_outlines(pairs), strict=True):
            if not same:
                raise _otherwise(image, f"the outline of object {thing.uuid}")

    def change_metadata(self, image: ProjectImage, entries: Mapping[str, str | None]) -> None:
        """Have entries of an image's metadata set, or taken out where None; nothing changes yet."""
        self._metadata[image.number] = dict(entries)

    @property
    def changed(self) -> bool:
        """Whether anything is to be written."""
        return bool(self._files or self._metadata)

    def new_files(self) -> dict[int, tuple[bytes, bytes]]:
        """Data and summary of each image that changes, by number, as they will be."""
        numbers = sorted({name.partition("/")[0] for name in self._files})
        return {
            int(n): (self._files[f"{n}/{DATA_NAME}"], self._files[f"{n}/{SUMMARY_NAME}"])
            for n in numbers
        }

    def commit(self) -> None:
        """Let all changes take their place at one moment.

        Raises
        ------
        RefusedError
            The project was changed since it was read; nothing was written.
        """
        exchange = Exchange(self.project.path, self._files) if self._files else None
        if exchange is not None:
            exchange.stage()
        self._exchange = exchange
        self._refuse_changed()
        if exchange is not None:
            exchange.commit()
        if self._metadata:
            self._commit_metadata()

    def _commit_metadata(self) -> None:
        path = self.project.path
        before = path.read_bytes()
        if _sha256(before) != self._digest:
            raise self._changed_meanwhile(path)
        written = with_metadata(path, before, self._metadata)
        replace_file(path, written)
        self._before, self._digest = before, _sha256(written)

    def _refuse_changed(self) -> None:
        changed = [self.project.path] if digest_of(self.project.path) != self._digest else []
        changed += [path for path, digest in self._seen.items() if digest_of(path) != digest]
        if changed:
            raise self._changed_meanwhile(changed[0])

    def _changed_meanwhile(self, path: Path) -> RefusedError:
        return RefusedError(
            f"{path} was changed while the push was prepared, so nothing was written; close "
            "the project in QuPath and push again",
            target=path,
        )

    def undo(self) -> None:
        """Put the old data back, if the new is there."""
        path = self.project.path
        if self._before is not None and digest_of(path) == self._digest:
            replace_file(path, self._before)
            self._digest = _sha256(self._before)
        if self._exchange is not None:
            self._exchange.undo()
        self._forget()

    def done(self) -> None:
        """The new data stays; other images may be changed now."""
        if self._exchange is not None:
            self._exchange.clear()
        self._forget()

    def _forget(self) -> None:
        self._exchange = self._before = None
        for prepared in (self._files, self._seen, self._metadata):
            prepared.clear()


@contextmanager
def opened_for_writing(path: Path, *, qupath_is_elsewhere: bool = False) -> Iterator[OpenedProject]:
    """Lock a project and see that it can be written; what fails in the block leaves it as it was.

    Parameters
    ----------
    qupath_is_elsewhere
        The user says that no QuPath window has this project open.

    Raises
    ------
    SourceError
        It is no project.
    RefusedError
        It is in use.
    QuPathMissingError
        There is no QuPath to write it.
    """
    path = path.resolve()
    images = read_project(path).images
    largest = max((i.data.stat().st_size for i in images if i.data.is_file()), default=0)
    process = QuPathProcess(largest + _ROOM_BYTES)
    process.start()
    try:
        with project_lock(path):
            if not qupath_is_elsewhere:
                refuse_open_windows(path)
            left = recover(path)
            opened = OpenedProject(read_project(path), process, _digest=digest_of(path) or "")
            opened.notes += recovery_notes(left)
            try:
                yield opened
            except BaseException:
                opened.undo()
                raise
            opened.done()
    finally:
        process.stop()


def _parent_left(held: ImageObjects, uuid: str, gone: set[str]) -> str | None:
    """The parent of an object once others are gone: the nearest of those above it that stays."""
    parent = held.objects[uuid].parent
    while parent in gone:
        parent = held.objects[parent].parent
    return parent


def _same_outlines(pairs: Sequence[tuple[PathObject, PathObject]]) -> list[bool]:
    if not pairs:
        return []
    ours = shapely.normalize(np.array([_areal(one.geometry) for one, _ in pairs], dtype=object))
    back = shapely.normalize(np.array([_areal(other.geometry) for _, other in pairs], dtype=object))
    exact = shapely.equals_exact(ours, back, tolerance=FLOAT32_PX)
    # Rounding can change which vertex comes first.
    return [
        bool(same) or shapely.hausdorff_distance(one, other) <= FLOAT32_PX
        for same, one, other in zip(exact, ours, back, strict=True)
    ]


def _areal(geometry: Any) -> Any:
    return (
        geometry.geoms[0] if hasattr(geometry, "geoms") and len(geometry.geoms) == 1 else geometry
    )


def _otherwise(image: ProjectImage, what: str) -> RefusedError:
    return RefusedError(
        f"{image.project}: image {image.name!r}: what was built reads back otherwise ({what}), so "
        "nothing was written; push to a folder, and report it with the project",
        image=image.name,
    )


def _summary(image: ProjectImage, hierarchy: dict[str, Any]) -> bytes:
    """The image's summary.json with other counts and another time."""
    path = image.folder / SUMMARY_NAME
    content: dict[str, Any] = {}
    if path.is_file():
        content = json.loads(path.read_bytes())
    content |= {"timestamp": int(time.time() * 1000)}
    kept = content.get("hierarchy")
    cores = kept.get("nTMACores") if isinstance(kept, dict) else None
    content["hierarchy"] = {**hierarchy, **({} if cores is None else {"nTMACores": cores})}
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
