"""A disk that fills, whichever command meets it: one line, nothing lost, and it works again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.postgresql import Unavailable
from tests.soak.__main__ import DISK_STEPS
from tests.soak.small_disks import COMMANDS, KIB, fill_postgresql, fill_sqlite


@contextmanager
def or_skipped() -> Iterator[None]:
    """Skips where no disk can be mounted, or no server be had."""
    try:
        yield
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("command", COMMANDS)
def test_sqlite_on_a_full_disk(command: str) -> None:
    """Without any room, and with more each time until the command goes through."""
    with or_skipped():
        found = fill_sqlite(command, step_bytes=128 * KIB, objects=60)
    assert found.refused


def test_a_postgresql_whose_disk_is_full(tmp_path: Path) -> None:
    """The server itself runs out of room in the middle of a pull."""
    with or_skipped():
        found = fill_postgresql(tmp_path, step_bytes=1024 * KIB, objects=1000)
    assert found.refused


@pytest.mark.soak
@pytest.mark.parametrize("command", COMMANDS)
def test_sqlite_on_a_disk_with_ever_more_room(command: str) -> None:
    with or_skipped():
        fill_sqlite(command, step_bytes=DISK_STEPS["sqlite"], objects=150)


@pytest.mark.soak
def test_postgresql_on_a_disk_with_ever_more_room(tmp_path: Path) -> None:
    with or_skipped():
        fill_postgresql(tmp_path, step_bytes=DISK_STEPS["postgresql"], objects=2000)
