"""The content of a ``data.qpdata`` by QuPath's own reading and writing, where there is no Groovy."""

from __future__ import annotations

import json
from typing import Any

from annotation.java.image_data import stream_of

__all__ = ["PlainImageData"]

_HEADER_BYTES = 1 << 16


class PlainImageData:
    """The content of a ``data.qpdata`` by QuPath's own reading and writing of it.

    QuPath wants an image to go with it, of which it asks no more than where it is.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        from jpype import JClass, JProxy

        self._path_io = JClass("qupath.lib.io.PathIO")
        builder, path = self._server(data)
        server = JProxy(
            "qupath.lib.images.servers.ImageServer",
            dict={"getBuilder": lambda: builder, "getPath": lambda: path, "close": lambda: None},
        )
        of_pixels = JClass("java.awt.image.BufferedImage").class_
        self._data = self._path_io.readImageData(stream_of(data), None, server, of_pixels)
        self.root = self._data.getHierarchy().getRootObject()

    @staticmethod
    def _server(data: bytes | memoryview) -> tuple[Any, str]:
        """How QuPath makes the image, and its path, from the JSON at the beginning."""
        from jpype import JClass, JString

        begins = bytes(data[:_HEADER_BYTES])
        start = begins.index(b"{")
        header, _ = json.JSONDecoder().raw_decode(begins[start:].decode("utf-8", "replace"))
        builders = JClass("qupath.lib.images.servers.ImageServerBuilder$ServerBuilder").class_
        gson = JClass("qupath.lib.io.GsonTools").getInstance()
        return gson.fromJson(JString(json.dumps(header["server"])), builders), str(header.get("id"))

    def to_bytes(self, expected_bytes: int) -> bytes:
        """All of it, as QuPath writes it."""
        from jpype import JClass

        buffer = JClass("java.io.ByteArrayOutputStream")(max(expected_bytes, 1 << 16))
        self._path_io.writeImageData(buffer, self._data)
        return bytes(memoryview(buffer.toByteArray()))
