"""One image of a QuPath project as a source of annotations."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator
from pathlib import Path

from annotation.duplicates import SeenObjects
from annotation.errors import SourceError
from annotation.frames import Frame, SlideExtent
from annotation.projects.column_reading import batch_of, without_duplicates
from annotation.projects.columns import ObjectColumns
from annotation.projects.files import ProjectFile, ProjectImage, version_numbers
from annotation.projects.image_files import find_image
from annotation.projects.image_frames import frame_of, pixel_size_note
from annotation.projects.process import QuPathProcess
from annotation.records import Batch
from annotation.sources import image_stem

__all__ = ["ProjectEntrySource", "slide_names"]


class ProjectEntrySource:
    """One image of a project, as an annotator left it.

    What is kept of it, ``raw``, is its ``data.qpdata``, byte by byte. Its metadata, in which a
    slide's label stands, follows behind QuPath's own end mark as one line of JSON: another label
    is other content, and QuPath opens such a file all the same.
    """

    knows_parents = True
    notes: tuple[str, ...] = ()

    def __init__(self, project: ProjectFile, image: ProjectImage, process: QuPathProcess) -> None:
        self._project = project
        self._image = image
        self._process = process
        self.name = f"{project.path.name}, image {image.name!r}"
        self.entry_id = image.number
        self.slide_names = slide_names(image)
        self.image_metadata = dict(image.metadata)
        self._opened = image.opened()
        self._written_by: str | None = None
        self._objects: int | None = 0
        self.modified = project.modified
        if self._opened:
            self._written_by = image.check_data()
            summary = image.summary()
            self._objects, self.modified = summary.objects, summary.modified
        self.sha256 = self._digest()

    @property
    def raw(self) -> bytes:
        """What is kept in the store."""
        return self._data() + self._trailer()

    @property
    def count(self) -> int:
        """How many objects there are."""
        if self._objects is None:
            self._objects = sum(len(b.objects) + len(b.rejections) for b in self.batches())
        return self._objects

    def check_version(self, found: str) -> None:
        """Refuse data of a newer QuPath where nothing says how many objects to expect."""
        newer = version_numbers(self._written_by) > version_numbers(found)
        if newer and self._objects is None:
            raise self._image.fault(
                f"it was written by QuPath {self._written_by}, QuPath {found} is found, and "
                "without a summary.json nothing tells whether all of it can be read",
                f"set PAQUO_QUPATH_DIR to a QuPath {self._written_by}, or pull a GeoJSON export",
            )

    def image_path(self, slides_root: Path | None) -> Path | None:
        """The file that the image is made of, where it is found on this machine."""
        found = find_image(self._project, self._image, slides_root=slides_root)
        return None if isinstance(found, str) else found.path

    def placement(self, slide: SlideExtent) -> tuple[Frame, list[str]]:
        """How the image lies on a slide, and what is worth telling about it."""
        note = pixel_size_note(self._image, slide)
        return frame_of(self._image, slide), [] if note is None else [note]

    def batches(self) -> Iterator[Batch]:
        """The objects with their parents, some thousand at a time."""
        if not self._opened:
            return
        data = self._data()
        stored_ids: bool | None = None
        seen = SeenObjects()
        for columns in self._columns(data):
            batch = batch_of(columns)
            if stored_ids is None and batch.objects:
                stored_ids = _stands_in(batch.objects[0].uuid, data)
            for thing in batch.objects:
                if not stored_ids:
                    # Before 0.4 QuPath kept no UUIDs; a later one makes new ones at each reading.
                    thing.uuid = thing.parent = None
            yield without_duplicates(batch, seen)

    def _columns(self, data: bytes) -> Iterator[ObjectColumns]:
        for header, payload in self._process.read(data, self._project.class_colors):
            if "fault" in header:
                raise self._unreadable(header["fault"])
            if "objects" in header:
                self._expect(header["objects"])
            if "columns" in header:
                yield ObjectColumns.received(header["columns"], payload)

    def _expect(self, objects: int) -> None:
        if self._objects is not None and objects != self._objects:
            raise self._unreadable(f"{objects} objects of {self._objects} come out")

    def _unreadable(self, reason: str) -> SourceError:
        found = self._process.version
        if version_numbers(self._written_by) > version_numbers(found):
            next_step = f"set PAQUO_QUPATH_DIR to a QuPath {self._written_by}"
        else:
            next_step = "open the image in QuPath, check it and save it"
        return self._image.fault(
            f"its data can't be read with QuPath {found} ({reason})",
            f"{next_step}, or pull a GeoJSON export",
        )

    def _data(self) -> bytes:
        """The image's data, which must be what it was when the project was opened."""
        if not self._opened:
            return b""
        with self._image.reading():
            data = self._image.data.read_bytes()
        if hashlib.sha256(data + self._trailer()).hexdigest() != self.sha256:
            raise self._image.fault(
                "it was saved while it was pulled", "close it in QuPath and pull again"
            )
        return data

    def _digest(self) -> str:
        digest = hashlib.sha256()
        if self._opened:
            with self._image.reading(), self._image.data.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256")
        digest.update(self._trailer())
        return digest.hexdigest()

    def _trailer(self) -> bytes:
        if not self._image.metadata:
            return b""
        return json.dumps({"metadata": self._image.metadata}, sort_keys=True).encode()


def slide_names(image: ProjectImage) -> tuple[str, ...]:
    """The names under which an image may be a slide, in the order in which to try them."""
    names = [image.name, image_stem(image.name)]
    if image.file_name:
        names += [image.file_name, Path(image.file_name).stem]
    return tuple(dict.fromkeys(name for name in names if name))


def _stands_in(uuid_text: str | None, data: bytes) -> bool:
    """Whether an object's UUID was read from the data, as text or as Java's two longs."""
    if uuid_text is None:
        return False
    number = uuid.UUID(uuid_text).bytes
    return uuid_text.encode() in data or number[8:] + number[:8] in data
