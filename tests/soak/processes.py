"""Command lines in processes of their own, which are forked ready to go and can be killed."""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

PRELOADED = [
    "annotation.cli",
    "annotation.commands.pulls",
    "annotation.commands.study",
    "annotation.pull",
    "consensus.commands.adjudication",
    "consensus.commands.runs",
    "consensus.running",
    "alembic.command",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
]


@dataclass
class Said:
    """What a command line gave back."""

    status: int
    out: str
    err: str


def call(url: str, *arguments: object) -> Said:
    """Run a command line on a store, in this process."""
    from annotation.cli import run

    os.environ["PATHQUORUM_STORE"] = url
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run([str(argument) for argument in arguments])
    return Said(status, out.getvalue(), err.getvalue())


def done(url: str, *arguments: object) -> Said:
    """Run a command line that must succeed."""
    said = call(url, *arguments)
    if said.status:
        raise AssertionError(f"{arguments}: {said.err}")
    return said


def context() -> Any:
    """Processes are forked from one that has imported everything and holds no connection."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


def _ready_then_call(pipe: Connection, url: str, arguments: tuple[object, ...]) -> None:
    pipe.send("ready")
    said = call(url, *arguments)
    pipe.send(said)


class Started:
    """A command line under way in another process."""

    def __init__(self, url: str, *arguments: object) -> None:
        forking = context()
        self._here, there = forking.Pipe()
        self.process = forking.Process(target=_ready_then_call, args=(there, url, arguments))
        self.process.start()
        there.close()
        assert self._here.recv() == "ready"
        self._start_s = time.monotonic()

    def wait(self) -> tuple[Said, float]:
        """What it said in the end, and how long it took."""
        said = self._here.recv()
        elapsed_s = time.monotonic() - self._start_s
        self._end()
        return said, elapsed_s

    def kill(self) -> bool:
        """Kill it (SIGKILL); whether it was still at work."""
        at_work = not self._here.poll()
        self.process.kill()
        self._end()
        return at_work

    def _end(self) -> None:
        self.process.join()
        self.process.close()
        self._here.close()
