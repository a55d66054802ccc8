"""`python -m tests.soak`: the full numbers of crowds and kills, on both databases."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.postgresql import running_server
from tests.soak.crashing import COMMANDS, crash_all
from tests.soak.crowding import crowd
from tests.soak.places import Places

PROCESSES = {"sqlite": 4, "postgresql": 16}
COMMANDS_EACH = 25
KILLS = 200
"""Of each database, shared by the commands."""


def soak(places: Places, tell: Callable[[str], None]) -> None:
    """Everything, on one kind of database."""
    team = crowd(places, processes=PROCESSES[places.kind], commands=COMMANDS_EACH)
    tell(f"{places.kind}: {team}")
    killed = crash_all(places, KILLS // len(COMMANDS), tell)
    tell(f"{places.kind}: {sum(k.kills for k in killed)} kills, the store whole after each")


def main() -> None:
    """Print what holds."""

    def tell(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    tell(
        f"{platform.python_implementation()} {platform.python_version()}, {os.cpu_count()} cores, "
        f"SQLite {sqlite3.sqlite_version}"
    )
    with tempfile.TemporaryDirectory() as folder, running_server() as server:
        for name, with_server in (("sqlite", None), ("postgresql", server)):
            (Path(folder) / name).mkdir()
            soak(Places(Path(folder) / name, with_server), tell)


if __name__ == "__main__":
    main()
