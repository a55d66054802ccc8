"""QuPath's Java in a process of its own, and what is said to it.

A process of its own, because a Java machine can't be stopped from within, logs to standard output,
keeps the memory that it once took, and can be started only once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Thread
from typing import IO, Any, TypeAlias

from annotation.errors import QuPathMissingError, SourceError
from annotation.projects.column_writing import columns_of
from annotation.records import PathObject

__all__ = ["TIMED_OUT", "Message", "QuPathProcess", "WrittenData", "receive", "send"]

Message: TypeAlias = tuple[dict[str, Any], bytes]

TIMED_OUT = 75
"""Exit status of a process that ran past its time."""

# Measured: 100,000 polygons of 50 vertices are 55 MB of data, and are read within 300 MB of heap.
_HEAP_MB = 512
_HEAP_MB_PER_DATA_MB = 16
_LIMIT_S = 60.0
_LIMIT_S_PER_DATA_MB = 2.0

# Java's serialization can build any object whose class it finds. QuPath's data needs these.
_SERIAL_FILTER = ";".join(
    [
        "java.lang.Boolean",
        "java.lang.Byte",
        "java.lang.Character",
        "java.lang.Double",
        "java.lang.Enum",
        "java.lang.Float",
        "java.lang.Integer",
        "java.lang.Long",
        "java.lang.Number",
        "java.lang.Object",
        "java.lang.Short",
        "java.lang.String",
        "java.util.ArrayList",
        "java.util.Arrays$ArrayList",
        "java.util.CollSer",
        "java.util.Collections$*",
        "java.util.HashMap",
        "java.util.HashSet",
        "java.util.LinkedHashMap",
        "java.util.LinkedHashSet",
        "java.util.LinkedList",
        "java.util.Locale",
        "java.util.Map$Entry",
        "java.util.TreeMap",
        "java.util.TreeSet",
        "java.util.UUID",
        "qupath.lib.**",
        "!*",
    ]
)


def send(stream: IO[bytes], header: Mapping[str, Any], *payload: bytes | memoryview) -> None:
    """Write one message: a line of JSON, and the bytes that it announces, in several pieces or none."""
    size = sum(len(piece) for piece in payload)
    stream.write(json.dumps({**header, "bytes": size}).encode() + b"\n")
    for piece in payload:
        stream.write(piece)
    stream.flush()


def receive(stream: IO[bytes]) -> Message | None:
    """Read what :func:`send` wrote; None where the other side has ended."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        return None
    header = json.loads(line)
    payload = stream.read(header.pop("bytes"))
    return header, payload


@dataclass(frozen=True)
class WrittenData:
    """A new ``data.qpdata``, and what ``summary.json`` says of it under ``hierarchy``."""

    data: bytes
    hierarchy: dict[str, Any]


class QuPathProcess:
    """Reads the data of one image after another; started when it is needed, and again after a fault.

    Parameters
    ----------
    largest_bytes
        Size of the largest data that will be read; it decides how much memory Java may take.
    limit_s
        How long one image may take; None: by its size.

    Attributes
    ----------
    version
        QuPath's, once it was started.
    """

    def __init__(self, largest_bytes: int, *, limit_s: float | None = None) -> None:
        self._largest_bytes = largest_bytes
        self._limit_s = limit_s
        self._running: _Running | None = None
        self.version = ""

    def start(self) -> str:
        """Start QuPath, unless it runs. Returns its version.

        Raises
        ------
        QuPathMissingError
            paquo, QuPath or its Java is not found, or doesn't work.
        """
        if self._running is None:
            self._running = _Running(self._options())
            self.version = self._running.version
        return self.version

    def about(self) -> dict[str, Any]:
        """What runs in the process: Java, Groovy (empty without it), QuPath's folder, the heap."""
        self.start()
        return dict(self._running.about) if self._running is not None else {}

    def read(self, data: bytes, class_colors: Mapping[str, int | None]) -> Iterator[Message]:
        """Have the content of one ``data.qpdata`` read.

        Yields
        ------
        ``objects``: how many there are. ``columns``: some of them, as
        :meth:`annotation.projects.columns.ObjectColumns.received` takes them. ``fault``: why no
        more comes.
        """
        yield from self._ask({"ask": "read", "class_colors": dict(class_colors)}, data)

    def write(
        self,
        data: bytes | None,
        *,
        server: Mapping[str, Any] | None = None,
        add: Sequence[PathObject] = (),
        remove: Collection[str] = (),
        class_colors: Mapping[str, int | None] | None = None,
    ) -> WrittenData:
        """Have a ``data.qpdata`` written that holds some objects more and some less.

        Everything else in it stays as it was. No image is opened.

        Parameters
        ----------
        data
            As it is; None for an image that was never opened, which then needs ``server``.
        server
            The image's ``serverBuilder`` in the project's file.
        add
            Objects with a UUID each. ``parent`` is the UUID of one in the data or among these;
            None puts an object under the root.
        remove
            UUIDs of objects to take out; what hangs below them moves up.
        class_colors
            As the project has them, packed ARGB.

        Raises
        ------
        InputError
            QuPath would not keep an object as it is.
        SourceError
            The data can't be read, an object to take out isn't there, or one to add is.
        """
        columns = columns_of(add, class_colors)
        request = {
            "ask": "write",
            "class_colors": dict(class_colors or {}),
            "data_bytes": len(data or b""),
            "server": None if data is not None else dict(server or {}),
            "remove": sorted(remove),
            "columns": columns.header(),
        }
        ((header, payload),) = self._ask(request, data or b"", *columns.payload())
        if "fault" in header:
            raise SourceError(
                f"QuPath can't write these objects ({header['fault']}); nothing was written, "
                "open the image in QuPath, check it and save it"
            )
        return WrittenData(payload, header["hierarchy"])

    def _ask(self, request: dict[str, Any], *data: bytes | memoryview) -> Iterator[Message]:
        self.start()
        running = self._running
        if running is None:  # pragma: no cover - start() has seen to it
            return
        limit_s = self._limit_s
        if limit_s is None:
            limit_s = _LIMIT_S + _LIMIT_S_PER_DATA_MB * sum(map(len, data)) / 1e6
        complete = False
        try:
            yield from running.ask({"limit_s": limit_s, **request}, *data)
            complete = True
        finally:
            if not complete or not running.alive():
                self.stop()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self._running is not None:
            self._running.kill()
            self._running = None

    def _options(self) -> list[str]:
        heap_mb = _HEAP_MB + _HEAP_MB_PER_DATA_MB * (self._largest_bytes // 1_000_000)
        return [
            f"-Xmx{heap_mb}m",
            "-XX:+UseSerialGC",
            # A process that lives for seconds gains nothing from the compiler that takes its time.
            "-XX:TieredStopAtLevel=1",
            f"-XX:ErrorFile={os.devnull}",
            "-Djava.awt.headless=true",
            # No array can hold more elements than the data has bytes.
            f"-Djdk.serialFilter=maxarray={max(self._largest_bytes, 65_536)};{_SERIAL_FILTER}",
        ]


class _Running:
    """One process, from its start to its end."""

    def __init__(self, java_options: list[str]) -> None:
        # -P: a folder `annotation` where the user happens to stand must shadow nothing.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-W", "ignore", "-m", "annotation.qupath"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # TOML, by which paquo reads its settings from the environment.
            env={**os.environ, "PAQUO_JAVA_OPTS": json.dumps(java_options)},
        )
        self._last_lines: deque[bytes] = deque(maxlen=20)
        # What Java logs must be read, or it would wait for a reader for ever.
        self._drain = Thread(
            target=self._last_lines.extend, args=[self._pipe("stderr")], daemon=True
        )
        self._drain.start()
        self.kill = weakref.finalize(self, _kill, self._process, self._drain)
        self.version = self._hello()

    def alive(self) -> bool:
        """Whether the process can be asked again."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], *data: bytes | memoryview) -> Iterator[Message]:
        """Send a request, and give the answers up to the last."""
        try:
            send(self._pipe("stdin"), request, *data)
        except OSError:
            yield {"fault": self._end()}, b""
            return
        while True:
            message = receive(self._pipe("stdout"))
            if message is None:
                yield {"fault": self._end()}, b""
                return
            if message[0].get("end"):
                return
            yield message

    def _hello(self) -> str:
        message = receive(self._pipe("stdout"))
        header = message[0] if message else {"missing": self._end()}
        if "missing" in header:
            self.kill()
            raise QuPathMissingError(
                f"a QuPath project needs QuPath: {header['missing']}; install it with "
                "`pip install 'pathquorum[qupath]'` and `paquo get_qupath --install-path DIR`, or "
                "set PAQUO_QUPATH_DIR to one, or pull a GeoJSON export, which needs none"
            )
        about = header.get("about")
        self.about: dict[str, Any] = about if isinstance(about, dict) else {}
        return str(header["qupath"])

    def _pipe(self, name: str) -> IO[bytes]:
        pipe: IO[bytes] = getattr(self._process, name)
        return pipe

    def _end(self) -> str:
        """Why the process ended."""
        status = self._process.wait()
        if status == TIMED_OUT:
            return "it took too long, as damaged data does"
        self._drain.join()
        words = b"".join(self._last_lines).decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(words) if line.strip()), "it said nothing")
        return f"Java ended with status {status}: {last[:200]}"


def _kill(process: subprocess.Popen[bytes], drain: Thread) -> None:
    process.kill()
    process.wait()
    drain.join()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            try:
                pipe.close()
            except BrokenPipeError:
                # What was left to be said to a process that is gone.
                continue
