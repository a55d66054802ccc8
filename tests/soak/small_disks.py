"""A small disk of one's own (a tmpfs) that can be filled, and what commands do when it is full."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.postgresql import Unavailable, running_server
from tests.soak.crashing import prepare
from tests.soak.places import Places, state
from tests.soak.processes import call, done

COMMANDS = ("pull", "consensus run", "decision", "migration", "backup")
KIB = 1024
SIZES = {"sqlite": 16 * KIB * KIB, "postgresql": 160 * KIB * KIB}


class Disk:
    """A mounted tmpfs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def leave(self, room_bytes: int) -> None:
        """Fill it but for so much, in whole pages."""
        self.make_room()
        with self._ballast.open("wb") as stream:
            os.posix_fallocate(stream.fileno(), 0, shutil.disk_usage(self.path).free - room_bytes)

    def make_room(self) -> None:
        """Take away what filled it."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def small_disk(kind: str) -> Iterator[Disk]:
    """A disk for one kind of database, mounted at a fresh folder.

    Raises
    ------
    Unavailable
        Nothing can be mounted here.
    """
    path = Path(tempfile.mkdtemp(prefix="pq-disk-"))
    options = f"size={SIZES[kind]},mode=0755"
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        path.rmdir()
        raise Unavailable("needs mount") from None
    if mounted.returncode:
        path.rmdir()
        raise Unavailable(f"needs the right to mount a tmpfs ({mounted.stderr.strip()})")
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", str(path)], check=True)
        path.rmdir()


@dataclass
class Filled:
    """What a command did on a disk that had ever more room."""

    command: str
    refused: int = 0
    enough_kib: int = 0

    def __str__(self) -> str:
        return (
            f"{self.command}: {self.refused} times refused in one line with nothing changed, "
            f"done with {self.enough_kib} KiB of room"
        )


def fill(
    places: Places,
    disk: Disk,
    command: str,
    *,
    step_bytes: int,
    objects: int = 150,
    recover: Callable[[], None] = lambda: None,
) -> Filled:
    """Run a command with no room, and with more each time until it goes through.

    Parameters
    ----------
    recover
        What an administrator does once there is room again.
    """
    url = places.empty()
    arguments = prepare(places, url, command, objects)
    before = state(url)
    found = Filled(command)
    room_bytes = 0
    while True:
        disk.leave(room_bytes)
        said = call(url, *arguments)
        disk.make_room()
        recover()
        left = state(url)
        if said.status == 0:
            break
        assert (said.status, said.out, said.err.count("\n")) == (1, "", 1), said
        assert said.err.startswith("Error: ")
        assert "nothing was" in said.err or "may be there whole or not at all" in said.err, said
        assert not list(places.folder.glob("*backup*"))
        if left != before:
            break
        found.refused += 1
        room_bytes += step_bytes
    found.enough_kib = room_bytes // KIB
    assert left != before or command == "backup"
    if command != "migration":  # whose rows are made up, with no files behind them
        done(url, "store", "check")
    return found


def fill_sqlite(command: str, *, step_bytes: int, objects: int) -> Filled:
    """A command on a store, its backup beside it, in a file on a small disk."""
    with small_disk("sqlite") as disk:
        return fill(Places(disk.path), disk, command, step_bytes=step_bytes, objects=objects)


def fill_postgresql(folder: Path, *, step_bytes: int, objects: int) -> Filled:
    """A pull into a server that keeps all it holds on a small disk.

    Parameters
    ----------
    folder
        For what is pulled.
    """
    with small_disk("postgresql") as disk:
        data = disk.path / "data"
        data.mkdir(mode=0o700)
        with running_server(data) as server:

            def recover() -> None:
                server.stop()
                server.start()

            places = Places(folder, server)
            return fill(
                places, disk, "pull", step_bytes=step_bytes, objects=objects, recover=recover
            )
