"""The short form of `python -m tests.soak`: what many at once, and a kill, may not do."""

from __future__ import annotations

import pytest

from tests.soak.__main__ import COMMANDS_EACH, KILLS, PROCESSES
from tests.soak.crashing import COMMANDS, crash
from tests.soak.crowding import crowd
from tests.soak.places import Places

pytestmark = pytest.mark.both_databases


def test_many_at_once_lose_nothing_and_write_nothing_twice(places: Places) -> None:
    """Each command is there whole, in one order, and what was refused was refused by a rule."""
    found = crowd(places, processes=PROCESSES[places.kind] // 2, commands=4, objects=10)
    assert sum(found.done.values()) + found.refused == found.processes * 4
    assert found.done["pull"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_killed_command_has_done_all_or_nothing(places: Places, command: str) -> None:
    """The store opens, its chain is whole, and the command goes through afterwards."""
    found = crash(places, command, kills=3, seed=7, objects=40)
    assert found.nothing + found.everything == found.kills == 3


@pytest.mark.soak
def test_the_full_crowd(places: Places) -> None:
    crowd(places, processes=PROCESSES[places.kind], commands=COMMANDS_EACH)


@pytest.mark.soak
@pytest.mark.parametrize("command", COMMANDS)
def test_the_full_kills(places: Places, command: str) -> None:
    crash(places, command, kills=KILLS // len(COMMANDS), seed=1)
