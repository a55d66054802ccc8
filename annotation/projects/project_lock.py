"""Our lock on a project, and whether somebody seems to have it open in QuPath.

QuPath locks nothing: of two programs that write the same project, the last one wins. A file of ours
beside ``project.qpproj`` keeps two of us apart, and what can be seen of a QuPath window is looked at
before anything is written.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotation.errors import QuPathMissingError, RefusedError

__all__ = ["project_lock", "refuse_open_windows"]

LOCK_SUFFIX = ".pathquorum-lock"
_LARGEST_LOCK_BYTES = 4096
_SAVING = ("project.qpproj.tmp",)


@contextmanager
def project_lock(project: Path) -> Iterator[None]:
    """Keep other pathquorums from writing a project. The lock of a process that died is taken over.

    Raises
    ------
    RefusedError
        Another one holds it.
    """
    path = project.with_name(project.name + LOCK_SUFFIX)
    told = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    content = json.dumps(told).encode()
    for _ in range(2):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            _take_over(project, path)
            continue
        except OSError as error:
            raise RefusedError(
                f"{project} can't be locked ({error.strerror}), so nothing was written; check that "
                "its folder can be written to",
                target=project,
            ) from error
        break
    else:
        raise _held(project, {})
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        yield
    finally:
        path.unlink(missing_ok=True)


def _take_over(project: Path, path: Path) -> None:
    """Remove the lock of a process of this machine that is no more; refuse any other."""
    try:
        with path.open("rb") as file:
            told = json.loads(file.read(_LARGEST_LOCK_BYTES))
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        told = {}
    told = told if isinstance(told, dict) else {}
    pid = told.get("pid")
    here = told.get("host") == socket.gethostname() and isinstance(pid, int)
    if not here or _psutil().pid_exists(int(str(pid))):
        raise _held(project, told)
    path.unlink(missing_ok=True)


def _held(project: Path, told: dict[str, Any]) -> RefusedError:
    who = ", ".join(
        f"{name} {str(told[key])[:80]}"
        for key, name in (("host", "host"), ("pid", "process"), ("at", "since"))
        if key in told
    )
    return RefusedError(
        f"{project} is being written by another pathquorum ({who or 'nothing more is known'}), so "
        f"nothing was written; wait, or remove {project.name}{LOCK_SUFFIX} if that one is gone",
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
