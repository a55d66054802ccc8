"""What a store of five million revisions costs those who ask one slide of it, beside a tenth of it.

On PostgreSQL, whose server is another process: CPU time and peak memory are the client's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path

from sqlalchemy import select

from annotation.stores.addresses import parsed
from annotation.stores.engines import read_only
from annotation.tables import Annotation
from tests.benchmarks.file_size import print_file_size
from tests.benchmarks.grown_store import (
    ANNOTATORS,
    FIRST,
    GrownStore,
    commanded,
    slide_name,
    write_export,
)
from tests.benchmarks.measure import Cost, cost_of
from tests.postgresql import Server, Unavailable, running_server

__all__ = ["run"]

OBJECTS = 2_000
SLIDES, DISPUTED = 500, 50
TRIES = 3
GOAL = 1.5

TIMED = """
import json, os, sys, time
from annotation.cli import run
told, sys.stdout = sys.stdout, open(os.devnull, "w")
took_s = []
for arguments in json.loads(sys.argv[1]):
    start_s = time.perf_counter()
    assert run(arguments) == 0, arguments
    took_s.append(time.perf_counter() - start_s)
print(min(took_s[1:], default=took_s[0]), file=told)
"""

SAID = """
import json, sys
from annotation.cli import run
assert run(json.loads(sys.argv[1])) == 0
"""


@dataclass(frozen=True)
class Asked:
    """A command line, whether it may grow with the store, and how often it is run.

    A pull of the same read again is another command: ``lines`` gives one for each time. What takes
    minutes is run once.
    """

    name: str
    lines: Iterator[Sequence[object]]
    bound: bool = True
    tries: int = TRIES


@dataclass(frozen=True)
class Took:
    """The best of several: a process with one command; and the command alone, in a process that has
    run it before, so that nothing is left to be imported."""

    process: Cost
    again_s: float


def run(folder: Path, slides: int = SLIDES, objects: int = OBJECTS) -> None:
    """Measure and print."""
    print_file_size(folder / "sqlite", objects=objects)
    try:
        with running_server() as server:
            check_copies(server, folder / "checked")
            measure(server, folder / "grown", slides, objects)
    except Unavailable as reason:
        print(f"\nnot measured: PostgreSQL {reason}")


def measure(server: Server, folder: Path, slides: int, objects: int) -> None:
    """Fill a store and one of a tenth of its size, and ask both the same."""
    folder.mkdir()
    name = server.create()
    grown = GrownStore(server.url(name), folder, objects)
    tenth = max(2, slides // 10)
    grown.grow(tenth, disputed=tenth)
    grown.close()
    small = server.create(name)
    grown.grow(slides, disputed=tenth)
    grown.close()
    for database in (small, name):
        server.execute("VACUUM ANALYZE", database)
    urls = server.url(small), server.url(name)
    per_slide = len(ANNOTATORS) * objects
    print(
        f"\n{tenth * per_slide:,} and {slides * per_slide:,} revisions on PostgreSQL "
        f"({tenth} and {slides} slides, {len(ANNOTATORS)} reads of {objects:,} objects each); "
        "CPU of the client"
    )
    print(
        f"  {'':46} {'process s':>14} {'CPU s':>13} {'peak MB':>13} {'again s':>15} {'times':>6}  goal"
    )
    for asked in [
        Asked("pull of one read", pulls(folder, objects)),
        *questions(urls[0]),
    ]:
        print_growth(asked, *took(urls, asked))


def questions(url: str) -> list[Asked]:
    """What is asked of a store beside pulling."""
    with read_only(parsed(url)) as connection:
        drawn = connection.scalar(select(Annotation.uuid).order_by(Annotation.id).limit(1))
    middle = slide_name(1)
    queue = ("adjudicate", "list")
    first = (*queue, "--state", "open", "--limit", 20)
    return [
        Asked("agreement of one slide", repeat(("agreement", "--slide", middle))),
        Asked("history of one read", repeat(("history", "--slide", middle, "--annotator", "R2"))),
        Asked("adjudicate list, as many disputes in both", repeat(queue)),
        Asked("adjudicate list --limit 20, as many in both", repeat(first)),
        Asked("the same, of ten times the disputes", repeat((*first, "--run", 1)), bound=False),
        Asked(
            "adjudicate list, of ten times the disputes",
            repeat((*queue, "--run", 1)),
            bound=False,
            tries=1,
        ),
        Asked("adjudicate show", repeat(("adjudicate", "show", 1))),
        Asked("slide show", repeat(("slide", "show", middle))),
        Asked("trace of a drawn object", repeat(("trace", drawn)), bound=False),
        Asked("audit verify", repeat(("audit", "verify")), bound=False),
        Asked("status", repeat(("status",)), bound=False, tries=1),
    ]


def pulls(folder: Path, objects: int) -> Iterator[Sequence[object]]:
    """Pulls of a read that the store does not hold, each of another replicate."""
    for number in count(2):
        path = folder / f"replicate-{number}" / f"{FIRST}.geojson"
        write_export(path, 0, objects, 100 + number)
        person = ("--annotator", ANNOTATORS[0], "--protocol", "growth")
        yield ("pull", path, *person, "--replicate", number)


def took(urls: Sequence[str], asked: Asked) -> list[Took]:
    """Ask the stores in turn, so that what else the machine does falls on all of them."""
    alone: dict[str, list[Cost]] = {url: [] for url in urls}
    again: dict[str, list[float]] = {url: [] for url in urls}
    for _ in range(asked.tries):
        for url in urls:
            alone[url].append(timed(url, [next(asked.lines)]))
            if asked.tries == 1:
                again[url].append(float(alone[url][0].printed))
                continue
            repeated = [next(asked.lines) for _ in range(1 + asked.tries)]
            again[url].append(float(timed(url, repeated).printed))
    return [Took(min(alone[url], key=lambda cost: cost.wall_s), min(again[url])) for url in urls]


def timed(url: str, lines: Sequence[Sequence[object]]) -> Cost:
    """A process that runs command lines and prints how long the best but the first took."""
    full = [[*map(str, line), "--store", url, "--json"] for line in lines]
    return cost_of(TIMED, json.dumps(full))


def print_growth(asked: Asked, small: Took, large: Took) -> None:
    """Print what it cost in the small store and in the large one."""
    print(
        f"  {asked.name:46} {small.process.wall_s:7.2f} {large.process.wall_s:6.2f}"
        f" {small.process.cpu_s:6.2f} {large.process.cpu_s:6.2f}"
        f" {small.process.peak_mb:6.0f} {large.process.peak_mb:6.0f}"
        f" {small.again_s:7.3f} {large.again_s:7.3f} {large.again_s / small.again_s:6.2f}"
        f"  {f'{GOAL} times' if asked.bound else ''}",
        flush=True,
    )


def check_copies(server: Server, folder: Path, objects: int = 100) -> None:
    """Slides that were copied are those that pulls would have made, or nothing is measured."""
    folder.mkdir()
    url = server.url(server.create())
    grown = GrownStore(url, folder, objects)
    grown.grow(3, disputed=2)
    grown.close()
    commanded(url, ("audit", "verify"), ("store", "check"))
    pulled, copied = (said(url, "agreement", "--slide", slide_name(n)) for n in (0, 2))
    for document in (pulled, copied):
        document.pop("slide")
    if pulled != copied:
        raise SystemExit("agreement of a copied slide is not that of the slide that was pulled")
    states = [
        [
            (row["revision"], row["class"], row["state"], row["object_type"], row["locked"])
            for row in said(url, "history", "--slide", slide_name(n), "--annotator", "R2")[
                "revisions"
            ]
        ]
        for n in (0, 2)
    ]
    if states[0] != states[1]:
        raise SystemExit("the history of a copied slide is not that of the slide that was pulled")
    last_pull = 3 * len(ANNOTATORS)
    again = folder / f"{slide_name(2)}.geojson"
    commanded(url, ("restore", last_pull, "--to", again))
    who = ("--annotator", ANNOTATORS[-1], "--protocol", "growth", "--dry-run")
    (read,) = said(url, "pull", again, *who)["reads"]
    if (read["unchanged"], read["objects"]) != (objects, objects):
        raise SystemExit(f"pulled again, a copied read should be unchanged, not {read}")
    print("copied slides: history, agreement, pulled again, store check and audit verify agree")


def said(url: str, *arguments: object) -> dict[str, object]:
    """The document of a command."""
    line = [*map(str, arguments), "--store", url, "--json"]
    document: dict[str, object] = json.loads(cost_of(SAID, json.dumps(line)).printed)
    return document
