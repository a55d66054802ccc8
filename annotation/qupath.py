"""The door to QuPath: no other module imports paquo, or knows QuPath's classes.

The module runs twice. In pathquorum's own process it offers a project's images as sources; run as
``python -m annotation.qupath`` it is the process that holds QuPath, which gets the bytes of a
``data.qpdata`` and answers with its objects, or with the bytes of one that holds other objects. It
gets no path, so there is nothing it could write to, and no image is needed. What of it works on
QuPath's objects stands in :mod:`annotation.java`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Container, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, TypeAlias

from annotation.errors import SourceError
from annotation.projects.files import ProjectImage, read_project, version_numbers
from annotation.projects.process import TIMED_OUT, QuPathProcess, receive, send

if TYPE_CHECKING:
    from annotation.java.groovy_objects import GroovyObjects
    from annotation.java.plain_objects import PlainObjects
    from annotation.projects.entry import ProjectEntrySource

__all__ = ["open_project"]

_OLDEST = "0.4.0"  # objects have had UUIDs since then
_NAMED = 10
_CHUNK_OBJECTS = 2_500

WITHOUT_GROOVY = "PATHQUORUM_WITHOUT_GROOVY"
"""Set in the environment, it has QuPath's objects read and written without Groovy."""

Answer: TypeAlias = tuple[dict[str, Any], Sequence[bytes | memoryview]]


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
        if entries is not None and image.number not in entries:
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
    access = _object_access()  # what it takes to compile is part of the start
    send(
        answers, {"qupath": found, "about": _about(groovy=type(access).__name__ == "GroovyObjects")}
    )
    while (request := receive(sys.stdin.buffer)) is not None:
        header, data = request
        steps = _answers(header, data)
        while (answer := _in_time(steps, header["limit_s"])) is not None:
            send(answers, answer[0], *answer[1])
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


def _about(*, groovy: bool) -> dict[str, Any]:
    """What runs here, for ``doctor``."""
    import paquo.java
    from jpype import JClass

    place = paquo.java.GeneralTools.class_.getProtectionDomain().getCodeSource().getLocation()
    of_groovy = JClass("groovy.lang.GroovySystem").getVersion() if groovy else ""
    return {
        "java": str(JClass("java.lang.System").getProperty("java.version")),
        "groovy": str(of_groovy),
        "folder": str(place.getPath()).split("/lib/app/")[0].split("/app/")[0],
        "heap_mb": int(JClass("java.lang.Runtime").getRuntime().maxMemory()) // (1 << 20),
    }


def _answers(header: Mapping[str, Any], payload: bytes) -> Iterator[Answer]:
    from jpype import JException

    from annotation.java.image_data import ImageDataError

    try:
        yield from (_written if header["ask"] == "write" else _read)(header, payload)
    except (JException, ImageDataError, ValueError) as error:
        yield {"fault": _one_line(error)}, []


def _read(header: Mapping[str, Any], data: bytes) -> Iterator[Answer]:
    """All objects, some thousands at a time."""
    from jpype import JClass

    from annotation.java.image_data import stream_of

    _set_colors(header["class_colors"])
    hierarchy = JClass("qupath.lib.io.PathIO").readHierarchy(stream_of(data))
    access = _object_access()
    objects = access.below(hierarchy.getRootObject())
    yield {"objects": int(objects.size())}, []
    for first in range(0, objects.size(), _CHUNK_OBJECTS):
        chunk = objects.subList(first, min(first + _CHUNK_OBJECTS, objects.size()))
        columns = access.read(chunk)
        yield {"columns": columns.header()}, columns.payload()


def _written(header: Mapping[str, Any], payload: bytes) -> Iterator[Answer]:
    """The data with some objects more and some less."""
    from annotation.java.image_data import new_data
    from annotation.projects.columns import ObjectColumns

    _set_colors(header["class_colors"])
    size = header["data_bytes"]
    server = header.get("server")
    access = _object_access()
    content = new_data(server) if server else access.content(memoryview(payload)[:size])
    if header["remove"]:
        access.remove(content.root, header["remove"])
    columns = ObjectColumns.received(header["columns"], memoryview(payload)[size:])
    if columns.n:
        access.add(content.root, columns)
    counts = access.counts(content.root)
    hierarchy = {"nObjects": sum(counts["objectTypeCounts"].values()), **counts}
    # QuPath keeps coordinates in half the bytes, and everything else about as it is sent.
    expected_bytes = size + 3 * (len(payload) - size) // 4
    yield {"hierarchy": hierarchy}, [content.to_bytes(expected_bytes)]


def _set_colors(class_colors: Mapping[str, int | None]) -> None:
    from jpype import JClass, JInt

    path_class = JClass("qupath.lib.objects.classes.PathClass")
    for name, color in class_colors.items():
        if color is not None:
            path_class.fromString(name, JInt(color)).setColor(JInt(color))


@cache
def _object_access() -> GroovyObjects | PlainObjects:
    """The quick way, or the one that any QuPath allows."""
    from jpype import JException

    from annotation.java.groovy_objects import GroovyObjects
    from annotation.java.plain_objects import PlainObjects

    if os.environ.get(WITHOUT_GROOVY):
        return PlainObjects()
    try:
        return GroovyObjects()
    except (TypeError, JException) as error:
        print(f"without Groovy, and so slowly: {_one_line(error)}", file=sys.stderr)
        return PlainObjects()


def _one_line(error: Exception) -> str:
    line = str(error).strip().split("\n")[0] or type(error).__name__
    # What stands in damaged data can stand in the message.
    return "".join(c if c.isprintable() else "?" for c in line[:200])


if __name__ == "__main__":
    _serve()
