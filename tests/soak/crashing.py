"""Killed (SIGKILL) at a random moment, a command has done all or nothing, and the store is whole."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from annotation.stores.schema import known_revisions
from tests.migrations.filled import make_filled_store
from tests.soak.places import Places, state
from tests.soak.processes import Started, done
from tests.soak.studies import SLIDES, make_study, pull_arguments, write_export

COMMANDS = ("pull", "consensus run", "decision", "migration")


@dataclass
class Killed:
    """What kills of one command left behind."""

    command: str
    kills: int = 0
    at_work: int = 0
    nothing: int = 0
    everything: int = 0

    def __str__(self) -> str:
        return (
            f"{self.command}: {self.kills} kills, {self.at_work} while it was at work; nothing "
            f"of it {self.nothing} times, all of it {self.everything} times, part of it never"
        )


def crash(places: Places, command: str, *, kills: int, seed: int, objects: int = 150) -> Killed:
    """Kill a command again and again, each time on a fresh copy of the same store."""
    template = places.empty()
    arguments = prepare(places, template, command, objects)
    before = state(template)
    after, elapsed_s = _uninterrupted(places, template, arguments)
    assert after != before
    chance = random.Random(seed)
    found = Killed(command)
    for number in range(kills):
        url = places.copy(template)
        started = Started(url, *arguments)
        time.sleep(chance.uniform(0, elapsed_s))
        found.at_work += started.kill()
        places.settled(url)
        left = state(url)
        assert left in (before, after), {k: (v, before[k], after[k]) for k, v in left.items()}
        found.kills += 1
        found.nothing += left == before
        found.everything += left == after
        if number % 10 == 0:  # and it works again
            if left == before:
                done(url, *arguments)
            assert state(url) == after
            if command != "migration":  # whose rows are made up, with no files behind them
                done(url, "store", "check")
        places.drop(url)
    places.drop(template)
    return found


def _uninterrupted(
    places: Places, template: str, arguments: tuple[object, ...]
) -> tuple[dict[str, int | str], float]:
    """What a command leaves when nobody kills it, and the median of the times it takes."""
    times_s = []
    for _ in range(3):
        url = places.copy(template)
        said, elapsed_s = Started(url, *arguments).wait()
        assert said.status == 0, said.err
        after = state(url)
        places.drop(url)
        times_s.append(elapsed_s)
    return after, sorted(times_s)[1]


def prepare(places: Places, url: str, command: str, objects: int) -> tuple[object, ...]:
    """Make the store that the command begins with. Gives its command line."""
    if command == "migration":
        make_filled_store(url, known_revisions()[0])
        return ("init",)
    make_study(url, places.folder, people=3)
    chance = random.Random(objects)
    exports = {}
    for handle in ("P0", "P1", "P2"):
        exports[handle] = places.folder / f"crash-{handle}" / f"{SLIDES[0]}.geojson"
        write_export(exports[handle], handle, chance, objects)
    if command == "pull":
        return pull_arguments(exports["P0"], "P0")
    for handle in ("P0", "P1"):
        done(url, *pull_arguments(exports[handle], handle))
    if command == "backup":
        return ("store", "backup", places.folder / "backup.zip")
    if command == "consensus run":
        return ("consensus", "run", "--protocol", "prostate")
    done(url, "consensus", "run", "--protocol", "prostate")
    answer = ("--class", "Benign", "--by", "L", "--reason", "seen")
    return ("adjudicate", "decide", 1, 2, 3, *answer)


def crash_all(places: Places, kills: int, tell: Callable[[str], None]) -> list[Killed]:
    """Kill each command so many times."""
    found = []
    for seed, command in enumerate(COMMANDS):
        found.append(crash(places, command, kills=kills, seed=seed))
        tell(f"{places.kind}: {found[-1]}")
    return found
