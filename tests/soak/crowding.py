"""Many processes that pull, decide and run consensus at once: nothing lost, nothing twice."""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from annotation.store import open_store
from annotation.tables import Annotation, Event, Revision
from tests.soak.places import Places
from tests.soak.processes import Said, call, context, done
from tests.soak.studies import SHARED, SLIDES, make_study, pull_arguments, write_export

REFUSALS = ("is decided already", "there is no consensus run yet")
"""What a rule of the study may answer to somebody who came second; no fault of the store."""


@dataclass
class Crowd:
    """What a crowd did."""

    processes: int
    elapsed_s: float
    done: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    events: int = 0
    revisions: int = 0
    longest_s: float = 0.0

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {what}" for what, n in sorted(self.done.items()))
        return (
            f"{self.processes} processes, {sum(self.done.values())} commands in "
            f"{self.elapsed_s:.0f} s ({counts}; {self.refused} refused by a rule), longest "
            f"{self.longest_s:.1f} s: {self.events} events unbroken, {self.revisions} revisions, "
            "none lost, none twice"
        )


def crowd(places: Places, *, processes: int, commands: int, objects: int = 20) -> Crowd:
    """Let processes work on one store at once, and hold what stands there against what they did."""
    url = places.empty()
    make_study(url, places.folder, processes)
    for number in (0, 1):  # so that there is something to fuse from the start
        path = places.folder / f"start{number}" / f"{SLIDES[0]}.geojson"
        write_export(path, f"P{number}", random.Random(number), objects)
        done(url, *pull_arguments(path, f"P{number}"))
    started = _events(url)
    start_s = time.monotonic()
    forking = context()
    logs = [places.folder / f"worker{number}.json" for number in range(processes)]
    team = [
        forking.Process(target=_work, args=(url, log, number, commands, objects))
        for number, log in enumerate(logs)
    ]
    for member in team:
        member.start()
    for member in team:
        member.join()
        assert member.exitcode == 0
    found = Crowd(processes, time.monotonic() - start_s)
    entries = [entry for log in logs for entry in json.loads(log.read_text())]
    for entry in entries:
        found.longest_s = max(found.longest_s, entry["elapsed_s"])
        if entry["status"] == 0:
            found.done[entry["what"]] += 1
        else:
            assert any(words in entry["err"] for words in REFUSALS), entry
            found.refused += 1
    _hold_against(url, found, entries, started)
    places.drop(url)
    return found


def _work(url: str, log: Path, number: int, commands: int, objects: int) -> None:
    """One member of the team: commands drawn by chance, what became of each is written down."""
    chance = random.Random(number)
    entries = []
    for step in range(commands):
        what = chance.choices(("pull", "shared", "consensus", "decide"), (4, 3, 1, 2))[0]
        entry: dict[str, Any] = {"what": "pull" if what == "shared" else what}
        start_s = time.monotonic()
        if what in ("pull", "shared"):
            handle = SHARED if what == "shared" else f"P{number}"
            slide = SLIDES[0] if what == "shared" else chance.choice(SLIDES)
            path = log.parent / f"w{number}-{step}" / f"{slide}.geojson"
            entry["classes"] = write_export(path, handle, chance, objects)
            said = call(url, *pull_arguments(path, handle))
            if said.status == 0:
                document = json.loads(said.out)
                entry |= {"pull": document["pull"], "read": document["reads"][0]["read"]}
        elif what == "consensus":
            said = call(url, "consensus", "run", "--protocol", "prostate", "--json")
        else:
            entry["what"], said = _decide(url, chance)
        entry |= {"status": said.status, "err": said.err, "elapsed_s": time.monotonic() - start_s}
        entries.append(entry)
    log.write_text(json.dumps(entries))


def _decide(url: str, chance: random.Random) -> tuple[str, Said]:
    listed = call(url, "adjudicate", "list", "--json")
    if listed.status:
        return "list", listed
    numbers = [d["dispute"] for d in json.loads(listed.out)["disputes"] if d["state"] == "open"]
    if not numbers:
        return "list", listed
    answer = ("--class", "Benign", "--by", "L", "--reason", "seen")
    return "decide", call(url, "adjudicate", "decide", chance.choice(numbers), *answer)


def _events(url: str) -> Counter[str]:
    store = open_store(url)
    with store.reading() as session:
        counted = Counter(session.scalars(select(Event.action)))
    store.close()
    return counted


def _hold_against(
    url: str, found: Crowd, entries: list[dict[str, Any]], started: Counter[str]
) -> None:
    """Nothing that was said to be done is missing, and nothing else is there."""
    done(url, "store", "check")
    events = _events(url) - started
    found.events = events.total() + started.total()
    assert events["pulled"] == found.done["pull"]
    assert events["consensus run"] == found.done["consensus"]
    assert events["dispute decided"] == found.done["decide"]
    store = open_store(url)
    with store.reading() as session:
        rows = session.execute(
            select(
                Annotation.read_id,
                Annotation.uuid,
                Revision.revision,
                Revision.pull_id,
                Revision.state,
                Revision.path_class,
            )
            .join(Annotation, Revision.annotation_id == Annotation.id)
            .order_by(Annotation.read_id, Annotation.uuid, Revision.revision)
        ).all()
        if session.connection().dialect.name == "postgresql":
            deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            assert session.scalar(text(deadlocks)) == 0
    store.close()
    found.revisions = len(rows)
    for _, group in groupby(rows, key=lambda row: (row.read_id, row.uuid)):
        numbers = [(row.revision, row.pull_id) for row in group]
        assert [number for number, _ in numbers] == list(range(1, len(numbers) + 1))
        assert [pull for _, pull in numbers] == sorted({pull for _, pull in numbers})
    for entry in entries:
        if "pull" in entry:
            standing: dict[str, tuple[str, str | None]] = {}
            for row in rows:
                if row.read_id == entry["read"] and row.pull_id <= entry["pull"]:
                    standing[row.uuid] = (row.state, row.path_class)
            there = {uuid: label for uuid, (state, label) in standing.items() if state != "removed"}
            assert there == entry["classes"], entry["pull"]
