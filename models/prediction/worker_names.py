"""What a worker is called in the store, and whether the process behind a name is gone."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from models.extras import needs

__all__ = ["WorkerName"]

_PID_NAMESPACE = Path("/proc/self/ns/pid")
_SAME_START_S = 0.5
_ENDS_S = 10.0


@dataclass(frozen=True)
class WorkerName:
    """A process that works on a run.

    Attributes
    ----------
    session
        Of the supervisor that it works for; every start of `predict` is one.
    host
        The machine, and the space of process numbers on it.
    pid, started_s
        The process, and when it began: numbers are given again.
    """

    session: str
    host: str
    pid: int
    started_s: float

    @classmethod
    def of_this_process(cls, session: str) -> WorkerName:
        """The name of the process that asks."""
        pid = os.getpid()
        return cls(session, _host(), pid, needs("psutil", "models").Process(pid).create_time())

    @classmethod
    def parse(cls, text: str) -> WorkerName | None:
        """A name as it stands in the store; None where it is none of these."""
        parts = text.split("/")
        try:
            session, host, pid, started_s = parts
            return cls(session, host, int(pid), float(started_s))
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"{self.session}/{self.host}/{self.pid}/{self.started_s:.2f}"

    def is_gone(self) -> bool:
        """Whether the process is known to have ended; of another machine nothing is known."""
        if self.host != _host():
            return False
        psutil = needs("psutil", "models")
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            return bool(abs(process.create_time() - self.started_s) > _SAME_START_S)
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False

    def end(self) -> None:
        """Kill the process, if it is still there; of another machine's nothing is done."""
        if self.host != _host() or self.is_gone():
            return
        psutil = needs("psutil", "models")
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(self.pid)
            process.kill()
            process.wait(_ENDS_S)


def _host() -> str:
    name = platform.node().replace("/", "-")
    try:
        return f"{name}:{_PID_NAMESPACE.stat().st_ino}"  # containers share names and numbers
    except OSError:
        return name
