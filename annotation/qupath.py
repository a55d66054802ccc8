"""The door to QuPath: no other module imports paquo, or knows QuPath's classes.

The module runs twice. In pathquorum's own process it offers a project's images as sources; run as
``python -m annotation.qupath`` it is the process that holds QuPath, which gets the bytes of a
``data.qpdata`` and answers with QuPath's own GeoJSON. It gets no path, so there is nothing it could
write to, and no image is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, TypeAlias

from annotation.errors import SourceError
from annotation.projects.files import ProjectImage, read_project, version_numbers
from annotation.projects.process import TIMED_OUT, QuPathProcess, receive, send

if TYPE_CHECKING:
    from annotation.projects.entry import ProjectEntrySource

__all__ = ["open_project"]

_OLDEST = "0.4.0"  # objects have had UUIDs since then
_NAMED = 10
_CHUNK_BYTES = 4_000_000
_LARGEST_CHUNK = 4_000

Answer: TypeAlias = tuple[dict[str, Any], bytes]


def open_project(
    path: Path, *, label_key: str | None = None, entries: Container[int] | None = None
) -> list[ProjectEntrySource]:
    """Open a ``.qpproj``: one source for each image that was opened and saved in QuPath.

    The first source's ``notes`` tell which images were left out.

    Parameters
    ----------
    path
        The project file. Neither it nor anything beside it is written.
    label_key
        Key of the slide label in the images' metadata: an image that bears one is a read even if
        nothing was drawn on it.
    entries
        Numbers of the images to take; None: all, and those left out are told.

    Raises
    ------
    SourceError
        It is no project, its data is damaged, or there is nothing in it to pull.
    QuPathMissingError
        No QuPath is found.
    """
    from annotation.projects.entry import ProjectEntrySource

    project = read_project(path)
    opened: list[ProjectImage] = []
    labelled: list[ProjectImage] = []
    left: list[str] = []
    for image in project.images:
        if entries is not None and image.entry_id not in entries:
            continue
        if image.opened():
            opened.append(image)
        elif label_key is not None and label_key in image.metadata:
            labelled.append(image)
        else:
            left.append(image.name)
    if not opened and not labelled:
        raise SourceError(
            f"{path.name}: none of its {len(project.images)} images was annotated and saved; "
            "save them in QuPath (File > Save) and pull again",
            file=path.name,
        )
    process = QuPathProcess(max((i.data.stat().st_size for i in opened), default=0))
    sources = [ProjectEntrySource(project, image, process) for image in opened + labelled]
    if left:
        names = ", ".join(map(repr, left[:_NAMED])) + (", ..." if len(left) > _NAMED else "")
        sources[0].notes = (f"{path.name}: not read, for never saved in QuPath: {names}",)
    if opened:
        found = process.start()
        for source in sources:
            source.check_version(found)
    return sources


# From here on: inside the process that holds QuPath.


def _serve() -> None:
    """Answer requests from standard input on what was standard output until there are no more."""
    # Java logs to standard output; from here on that is standard error.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        found = _start_qupath()
    except (ImportError, OSError, RuntimeError, TypeError, ValueError) as error:
        send(answers, {"missing": _one_line(error)})
        return
    if version_numbers(found) < version_numbers(_OLDEST):
        send(answers, {"missing": f"QuPath {found} is found, and {_OLDEST} or newer is needed"})
        return
    send(answers, {"qupath": found})
    while (request := receive(sys.stdin.buffer)) is not None:
        header, data = request
        steps = _answers(data, header["class_colors"])
        while (answer := _in_time(steps, header["limit_s"])) is not None:
            send(answers, *answer)
        send(answers, {"end": True})


def _in_time(steps: Iterator[Answer], limit_s: float) -> Answer | None:
    """The next answer. Java may look for it for ever, and only the end of the process ends that."""
    timer = Timer(limit_s, os._exit, [TIMED_OUT])
    timer.daemon = True
    timer.start()
    try:
        return next(steps, None)
    finally:
        timer.cancel()


def _start_qupath() -> str:
    import paquo.java  # starts Java
    from jpype import JClass, JInt

    # QuPath sets a filter of its own, which would replace ours: now an object must pass both.
    object_filter = JClass("java.io.ObjectInputFilter").class_
    signature = JClass("java.lang.invoke.MethodType").methodType(
        object_filter, object_filter, object_filter
    )
    handles = JClass("java.lang.invoke.MethodHandles")
    merge = handles.publicLookup().findStatic(object_filter, "merge", signature)
    # Java gives (the filter so far or null, the next one), and merge() wants the null last.
    merge = handles.permuteArguments(merge, signature, JInt[:]([1, 0]))
    factory = JClass("java.lang.invoke.MethodHandleProxies").asInterfaceInstance(
        JClass("java.util.function.BinaryOperator").class_, merge
    )
    JClass("java.io.ObjectInputFilter$Config").setSerialFilterFactory(factory)
    return str(paquo.java.GeneralTools.getVersion())


def _answers(data: bytes, class_colors: Mapping[str, int | None]) -> Iterator[Answer]:
    from jpype import JClass, JException, JInt

    path_class = JClass("qupath.lib.objects.classes.PathClass")
    try:
        for name, color in class_colors.items():
            if color is not None:
                path_class.fromString(name, JInt(color)).setColor(JInt(color))
        hierarchy = JClass("qupath.lib.io.PathIO").readHierarchy(_stream(data))
        yield {"objects": int(hierarchy.nObjects())}, b""
        yield from _Features().of(hierarchy.getRootObject())
    except JException as error:
        yield {"fault": _one_line(error)}, b""


def _stream(data: bytes) -> Any:
    """A stream of the data that fails where it ends: QuPath reads an ended one again for ever."""
    from jpype import JArray, JByte, JClass

    in_memory = JClass("java.io.ByteArrayInputStream")
    failing = JClass("java.io.BufferedInputStream")(in_memory(JArray(JByte)(b"")))
    failing.close()
    return JClass("java.io.SequenceInputStream")(in_memory(JArray(JByte)(data)), failing)


class _Features:
    """Has QuPath write objects as it does in an export, many at once where it can."""

    def __init__(self) -> None:
        from jpype import JClass

        self._list = JClass("java.util.ArrayList")
        self._buffer = JClass("java.io.ByteArrayOutputStream")
        self._path_io = JClass("qupath.lib.io.PathIO")
        self._out_of_memory = JClass("java.lang.OutOfMemoryError")

    def of(self, root: Any) -> Iterator[Answer]:
        """Every object below the root."""
        size = 100
        chunk = self._list()
        parents: dict[str, str] = {}
        for thing, parent in self._walk(root):
            chunk.add(thing)
            if parent is not None:
                parents[str(thing.getID())] = parent
            if chunk.size() >= size:
                yield {"parents": parents}, b""
                written = 0
                for answer in self._write(chunk):
                    yield answer
                    written += len(answer[1])
                # Objects differ in size a millionfold: keep to bytes, not to a number of objects.
                size = min(_LARGEST_CHUNK, 1 + size * _CHUNK_BYTES // max(written, 1), size * 4)
                chunk = self._list()
                parents = {}
        yield {"parents": parents}, b""
        yield from self._write(chunk)

    def _walk(self, root: Any) -> Iterator[tuple[Any, str | None]]:
        todo: list[tuple[Any, str | None]] = [(root, None)]
        while todo:
            above, parent = todo.pop()
            for thing in above.getChildObjectsAsArray():
                yield thing, parent
                if thing.hasChildObjects():
                    todo.append((thing, str(thing.getID())))

    def _write(self, chunk: Any) -> Iterator[Answer]:
        import msgspec
        from jpype import JException

        if chunk.isEmpty():
            return
        buffer = self._buffer()
        try:
            self._path_io.exportObjectsAsGeoJSON(buffer, chunk)
            written = bytes(buffer.toByteArray())
            if chunk.size() > 1:
                features = msgspec.json.decode(written, type=list[msgspec.Raw])
                written = b"\n".join(features)
        except (JException, msgspec.DecodeError) as error:
            if isinstance(error, self._out_of_memory):
                raise  # no fault of these objects
            if chunk.size() > 1:
                for thing in chunk:
                    yield from self._write(self._list([thing]))
            else:
                thing = chunk.get(0)
                reason = f"QuPath can't write this {_kind(thing)} as GeoJSON ({_one_line(error)})"
                yield {"rejected": str(thing.getID()), "reason": reason}, b""
        else:
            yield {"features": chunk.size()}, written


def _kind(thing: Any) -> str:
    from jpype import JException

    roi = thing.getROI()
    try:
        return str(roi.getGeometry().getGeometryType()) if roi is not None else "object"
    except JException:
        return str(roi.getRoiName())


def _one_line(error: Exception) -> str:
    line = str(error).strip().split("\n")[0] or type(error).__name__
    # What stands in damaged data can stand in the message.
    return "".join(c if c.isprintable() else "?" for c in line[:200])


if __name__ == "__main__":
    _serve()
