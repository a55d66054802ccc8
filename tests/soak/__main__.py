"""`python -m tests.soak`: the full numbers of crowds, kills and full disks, on both databases."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.postgresql import Unavailable, running_server
from tests.soak.crashing import COMMANDS, crash_all
from tests.soak.crowding import crowd
from tests.soak.flat_memory import at_slide, memory_curve
from tests.soak.killing_training import killed_training
from tests.soak.killing_workers import killed_workers
from tests.soak.places import Places
from tests.soak.small_disks import COMMANDS as ON_A_DISK
from tests.soak.small_disks import KIB, fill_postgresql, fill_sqlite

PROCESSES = {"sqlite": 4, "postgresql": 16}
COMMANDS_EACH = 25
KILLS = 200
"""Of each database, shared by the commands."""
TRAINING_KILLS = 20
WORKER_KILLS = 20
PREDICTED = 300
"""Slides over which a worker's memory must be flat."""
DISK_STEPS = {"sqlite": 8 * KIB, "postgresql": 256 * KIB}
"""By how much the room on a disk grows from one attempt to the next."""


def soak(places: Places, tell: Callable[[str], None]) -> None:
    """Everything, on one kind of database."""
    team = crowd(places, processes=PROCESSES[places.kind], commands=COMMANDS_EACH)
    tell(f"{places.kind}: {team}")
    killed = crash_all(places, KILLS // len(COMMANDS), tell)
    tell(f"{places.kind}: {sum(k.kills for k in killed)} kills, the store whole after each")


def fill_disks(folder: Path, tell: Callable[[str], None]) -> None:
    """Every command on a disk that fills."""
    try:
        for command in ON_A_DISK:
            filled = fill_sqlite(command, step_bytes=DISK_STEPS["sqlite"], objects=150)
            tell(f"sqlite on a full disk: {filled}")
        filled = fill_postgresql(folder, step_bytes=DISK_STEPS["postgresql"], objects=2000)
        tell(f"postgresql on a full disk: {filled}")
    except Unavailable as reason:
        tell(f"full disks were left out: {reason}")


def main() -> None:
    """Print what holds."""

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    tell(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, "
        f"SQLite {sqlite3.sqlite_version}"
    )
    with tempfile.TemporaryDirectory() as folder:
        found = killed_training(Path(folder), kills=TRAINING_KILLS, seed=1)
        tell(
            f"training: {found.kills} kills within {found.batches} batches; the weights are "
            f"{'those' if found.same_weights else 'NOT THOSE'} of a training that was left alone"
        )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "curve").mkdir()
        curve = memory_curve(Path(folder) / "curve", PREDICTED)
        grown = curve[max(curve)] / at_slide(curve, 30) - 1
        tell(f"predictions: a worker's memory moved by {grown:+.1%} from slide 30 to {max(curve)}")
        (Path(folder) / "kills").mkdir()
        workers = killed_workers(
            Path(folder) / "kills", slides=3 * WORKER_KILLS, kills=WORKER_KILLS, seed=1
        )
        tell(
            f"predictions: {workers.kills} workers killed over {workers.slides} slides; the output "
            f"is {'that' if workers.same else 'NOT THAT'} of a run that was left alone"
        )
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        for name, with_server in (("sqlite", None), ("postgresql", server)):
            (Path(folder) / name).mkdir()
            soak(Places(Path(folder) / name, with_server), tell)
        (Path(folder) / "disks").mkdir()
        fill_disks(Path(folder) / "disks", tell)


if __name__ == "__main__":
    main()
