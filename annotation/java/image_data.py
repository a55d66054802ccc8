"""The content of a ``data.qpdata``, taken apart and written again object by object.

QuPath's file is a Java serialization of a few things in a row: its version, the image as JSON, the
locale, the type of image, stains, workflow, the hierarchy, properties, and the word EOF. To change
the hierarchy, everything else is written back as it was read; the image is not needed, and nothing
that this QuPath has no name for is left out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["ImageDataContent", "ImageDataError", "new_data", "stream_of"]

_DATA_VERSION = 3


class ImageDataError(Exception):
    """It is no data of QuPath's."""


class ImageDataContent:
    """The things in one ``data.qpdata``.

    Parameters
    ----------
    begins
        Its first line.
    things
        What stands behind it, in order, as a Java list.

    Raises
    ------
    ImageDataError
        There is no hierarchy, or more than one.
    """

    def __init__(self, begins: str, things: Any) -> None:
        from jpype import JClass

        hierarchy = JClass("qupath.lib.objects.hierarchy.PathObjectHierarchy")
        found = [thing for thing in things if isinstance(thing, hierarchy)]
        if not begins.startswith("Data file version") or len(found) != 1:
            raise ImageDataError(
                f"it begins with {begins[:40]!r} and holds {len(found)} hierarchies"
            )
        self._begins, self._things = begins, things
        self.root = found[0].getRootObject()
        """The object under which all others hang."""

    def to_bytes(self, expected_bytes: int) -> bytes:
        """All of it, as QuPath writes it.

        Parameters
        ----------
        expected_bytes
            About as many as it will be: a buffer that has to grow is copied again and again.
        """
        from jpype import JClass

        buffer = JClass("java.io.ByteArrayOutputStream")(max(expected_bytes, 1 << 16))
        stream = JClass("java.io.ObjectOutputStream")(buffer)
        stream.writeUTF(self._begins)
        for thing in self._things:
            stream.writeObject(thing)
        stream.close()
        return bytes(memoryview(buffer.toByteArray()))


def new_data(server: Mapping[str, Any]) -> ImageDataContent:
    """The content for an image that was never opened, given its ``serverBuilder``."""
    from jpype import JClass, JString

    version = str(JClass("qupath.lib.common.GeneralTools").getVersion())
    header = {"dataVersion": _DATA_VERSION, "qupathVersion": version, "server": dict(server)}
    things = JClass("java.util.ArrayList")()
    for thing in (
        JString(json.dumps(header)),
        JClass("java.util.Locale").getDefault(JClass("java.util.Locale$Category").FORMAT),
        JClass("qupath.lib.images.ImageData$ImageType").UNSET,
        None,
        JClass("qupath.lib.plugins.workflow.Workflow")(),
        JClass("qupath.lib.objects.hierarchy.PathObjectHierarchy")(),
        JClass("java.util.HashMap")(),
        JString("EOF"),
    ):
        things.add(thing)
    return ImageDataContent(f"Data file version {_DATA_VERSION}", things)


def stream_of(data: bytes | memoryview) -> Any:
    """A stream of the data that fails where it ends: QuPath reads an ended one again for ever."""
    from jpype import JArray, JByte, JClass

    in_memory = JClass("java.io.ByteArrayInputStream")
    failing = JClass("java.io.BufferedInputStream")(in_memory(JArray(JByte)(b"")))
    failing.close()
    return JClass("java.io.SequenceInputStream")(in_memory(JArray(JByte)(data)), failing)
