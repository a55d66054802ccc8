"""All objects of an image at once, by a Groovy class that QuPath's own Groovy compiles."""

from __future__ import annotations

from collections.abc import Collection
from importlib.resources import files
from typing import Any

import numpy as np

from annotation.java.image_data import ImageDataContent, stream_of
from annotation.projects.columns import ARRAYS, ObjectColumns

__all__ = ["GroovyObjects"]

_SCRIPT = "PathObjectColumns.groovy"


class GroovyObjects:
    """Reads and writes objects through ``qupath_scripts/PathObjectColumns.groovy``.

    Raises
    ------
    TypeError
        There is no Groovy here.
    jpype.JException
        Its Groovy can't compile the class, for another version of QuPath.
    """

    def __init__(self) -> None:
        from jpype import JClass

        source = files("qupath_scripts").joinpath(_SCRIPT).read_text(encoding="utf-8")
        compiled = JClass("groovy.lang.GroovyClassLoader")().parseClass(source)
        self._columns = JClass(compiled)

    def content(self, data: bytes | memoryview) -> ImageDataContent:
        """What stands in a ``data.qpdata``."""
        content = self._columns.contentOf(stream_of(data))
        return ImageDataContent(str(content.get(0)), content.subList(1, content.size()))

    def below(self, root: Any) -> Any:
        """All objects below the root, parents before their children, as a Java list."""
        return self._columns.below(root)

    def read(self, objects: Any) -> ObjectColumns:
        """Columns of a Java list of objects."""
        found = self._columns.read(objects)
        n = int(found.getN())
        arrays = {}
        for name in ARRAYS:
            values = np.asarray(getattr(found, _getter(name))())
            per_object = 2 if name in ("uuid", "parent") else 1
            arrays[name] = values if name in _RAGGED else values[: per_object * n]
        return ObjectColumns(
            n=n,
            arrays=arrays,
            texts=[str(text) for text in found.getTexts()],
            class_names=[str(name) for name in found.getClassNames()],
            class_colors=[
                None if color is None else int(color) for color in found.getClassColors()
            ],
            rejected=[
                (str(uuid), str(reason))
                for uuid, reason in zip(found.getRejected(), found.getReasons(), strict=True)
            ],
        )

    def add(self, root: Any, columns: ObjectColumns) -> None:
        """Build objects, and hang them below their parents."""
        from jpype import JArray, JByte, JClass, JDouble, JInt, JLong, JString, nio

        kinds = {"i1": JByte, "i4": JInt, "i8": JLong, "f8": JDouble}
        sent: list[Any] = []
        for name, kind in ARRAYS.items():
            values = columns.arrays[name]
            if name == "wkb":  # by far the largest: Java reads it where it is
                sent.append(nio.convertToDirectBuffer(np.require(values, requirements="W").data))
                continue
            native = np.ascontiguousarray(values, dtype=kind.lstrip("<>"))
            sent.append(JArray(kinds[kind.lstrip("<>")])(native))
        array_list, path_class = JClass("java.util.ArrayList"), path_classes(columns)
        texts = array_list([JString(text) for text in columns.texts])
        built = self._columns.of(columns.n, *sent, texts, path_class)
        built.attach(built.objects(), root)

    def remove(self, root: Any, uuids: Collection[str]) -> None:
        """Take objects out; what hangs below them moves up."""
        from jpype import JClass, JString

        self._columns.remove(root, JClass("java.util.ArrayList")([JString(u) for u in uuids]))

    def counts(self, root: Any) -> dict[str, dict[str, int]]:
        """What ``summary.json`` counts."""
        return {
            str(which): {str(name): int(count) for name, count in counts.items()}
            for which, counts in self._columns.counts(root).items()
        }


_RAGGED = frozenset({"wkb", "measurement_name", "measurement", "metadata"})


def _getter(name: str) -> str:
    return "get" + "".join(word.capitalize() for word in name.split("_"))


def path_classes(columns: ObjectColumns) -> Any:
    """QuPath's classes of the names in the columns, as a Java list."""
    from jpype import JClass, JInt

    of_name = JClass("qupath.lib.objects.classes.PathClass").fromString
    classes = JClass("java.util.ArrayList")()
    for name, color in zip(columns.class_names, columns.class_colors, strict=True):
        classes.add(of_name(name) if color is None else of_name(name, JInt(color)))
    return classes
