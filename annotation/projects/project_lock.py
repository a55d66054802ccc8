"""Our lock on a project, and whether somebody seems to have it open in QuPath.

QuPath locks nothing: of two programs that write the same project, the last one wins. A file of ours
beside ``project.qpproj`` keeps two of us apart, and what can be seen of a QuPath window is looked at
before anything is written.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from annotation.errors import QuPathMissingError, RefusedError

__all__ = ["project_lock", "refuse_open_windows"]

LOCK_SUFFIX = ".pathquorum-lock"
WHO_SUFFIX = "-holder"
_LARGEST_BYTES = 4096
_SAVING = ("project.qpproj.tmp",)


@contextmanager
def project_lock(project: Path) -> Iterator[None]:
    """Keep other pathquorums from writing a project.

    The system holds the lock, and lets go of it when the process ends, however it ends: a file that
    was left, empty or not, keeps nobody out. A second file tells who holds it.

    Raises
    ------
    RefusedError
        Another one holds it, or the disk can't lock.
    """
    from filelock import FileLock, Timeout

    path = project.with_name(project.name + LOCK_SUFFIX)
    who = project.with_name(path.name + WHO_SUFFIX)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise _held(project, who) from None
    except (OSError, NotImplementedError) as error:
        raise RefusedError(
            f"{project} can't be locked ({getattr(error, 'strerror', None) or error}), so nothing was "
            "written; check that its folder can be written to",
            target=project,
        ) from error
    try:
        who.write_bytes(msgspec.json.encode(_Holder.me()))
        yield
    finally:
        who.unlink(missing_ok=True)
        with suppress(OSError):  # Windows removes no file that is open
            path.unlink()  # whoever waits for this file finds it gone, and takes a new one
        lock.release()


class _Holder(msgspec.Struct, frozen=True):
    """Who holds a lock, to be told to another."""

    host: str
    pid: int
    at: str

    @classmethod
    def me(cls) -> _Holder:
        return cls(
            socket.gethostname(), os.getpid(), datetime.now(UTC).isoformat(timespec="seconds")
        )


def _held(project: Path, who: Path) -> RefusedError:
    try:
        with who.open("rb") as file:
            told = msgspec.json.decode(file.read(_LARGEST_BYTES), type=_Holder)
        holder = f"process {told.pid} on {told.host[:80]}, since {told.at[:40]}"
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        holder = "nothing more is known"
    return RefusedError(
        f"{project} is being written by another pathquorum ({holder}), so nothing was written; wait "
        "until it has finished",
        target=project,
    )


def refuse_open_windows(project: Path) -> None:
    """Refuse a project that may be open in QuPath on this machine, or is just being saved.

    Raises
    ------
    RefusedError
        QuPath runs here, or a save is under way.
    """
    saving = [name for name in _SAVING if (project.parent / name).exists()]
    if saving:
        raise RefusedError(
            f"{project.parent / saving[0]} is there, so QuPath is saving the project or was stopped "
            "while it did, and nothing was written; close QuPath, check the project, remove it",
            target=project,
        )
    running = _running_qupaths()
    if running:
        raise RefusedError(
            f"QuPath is running here (process {running[0]}) and would overwrite what is written if it "
            f"has {project.name} open; close it and try again, or say --qupath-is-elsewhere if it has "
            "another project open",
            target=project,
        )


def _running_qupaths() -> list[int]:
    """Processes that are a QuPath window: its own launcher, or Java with QuPath's main class."""
    found = []
    for process in _psutil().process_iter(["pid", "name", "cmdline"]):
        name = str(process.info["name"] or "").lower()
        words = [str(word) for word in process.info["cmdline"] or ()]
        java = name.startswith("java")
        if name.startswith("qupath") or (java and any("qupath.QuPath" in word for word in words)):
            found.append(int(process.info["pid"]))
    return found


def _psutil() -> Any:
    try:
        import psutil
    except ImportError:
        raise QuPathMissingError(
            "whether QuPath has the project open can't be told without psutil; install it with "
            "`pip install 'pathquorum[qupath]'`, or push to a folder"
        ) from None
    return psutil
