"""Each way to change the trail past its triggers is found, and the first bad event is named.

What a chain cannot show by itself is found against a head that was kept elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from annotation.audit import GENESIS, HASHED_COLUMNS, event_hash, record, utc_text
from annotation.store import Store
from annotation.tables import Event
from tests.conftest import CommandResult
from tests.tampering import rewrite, tamper

pytestmark = pytest.mark.both_databases

Command = Callable[..., CommandResult]

EVENTS = 6
BEFORE = "an event before it is missing, changed, inserted or out of order"
CONTENT = "its content was changed"


@pytest.fixture
def trail(store: Store) -> Store:
    """A store whose trail has six events; floats that JSON writers spell otherwise among them."""
    with store.writing() as session:
        for number in range(1, EVENTS):
            record(
                session,
                actor=None,
                action="tested",
                subject=f"test:{number}",
                old={"tolerance": 1e-5, "name": "Zoë\n\x7f"},
                new={"number": number},
                reason="'=SUM(A1)" if number % 2 else "",
            )
    return store


def swapped(*columns: str) -> tuple[str, ...]:
    """Statements that exchange columns of the events 3 and 4."""
    taken = ", ".join(
        f"{name} = (SELECT {name} FROM kept WHERE kept.id = 7 - events.id)" for name in columns
    )
    return (
        "CREATE TEMPORARY TABLE kept AS SELECT * FROM events WHERE id IN (3, 4)",
        *(("UPDATE events SET hash = 'x' || id WHERE id IN (3, 4)",) if "hash" in columns else ()),
        f"UPDATE events SET {taken} WHERE id IN (3, 4)",
        "DROP TABLE kept",
    )


def copied(of: int, to: int, **changed: str) -> str:
    """A statement that inserts a copy of an event under another key."""
    columns = ("id", *HASHED_COLUMNS, "hash")
    values = {name: name for name in columns} | {"id": str(to), "hash": "'x' || substr(hash, 2)"}
    chosen = ", ".join((values | changed)[name] for name in columns)
    return f"INSERT INTO events ({', '.join(columns)}) SELECT {chosen} FROM events WHERE id = {of}"


ROOM_AT_4 = (
    "UPDATE events SET id = id + 100 WHERE id >= 4",
    "UPDATE events SET id = id - 99 WHERE id >= 104",
)
CHANGED = {
    "at": "'2020-01-01 00:00:00.000000'",
    "actor": "'annotator:1'",
    "action": "'Tested'",
    "subject": "'test:9'",
    "old": "NULL",
    "new": """'{"number":2.5}'""",
    "reason": "NULL",
    "software_version": "'9.9'",
    "previous_hash": f"'{GENESIS}'",
    "hash": f"'{GENESIS}'",
}
WAYS: dict[str, tuple[tuple[str, ...], int, str]] = {
    **{
        f"changed {name}": (
            (f"UPDATE events SET {name} = {value} WHERE id = 3",),
            3,
            BEFORE if name == "previous_hash" else CONTENT,
        )
        for name, value in CHANGED.items()
    },
    "missing first": (("DELETE FROM events WHERE id = 1",), 2, BEFORE),
    "missing middle": (("DELETE FROM events WHERE id = 3",), 4, BEFORE),
    "missing two": (("DELETE FROM events WHERE id IN (2, 3)",), 4, BEFORE),
    "swapped by their keys": (swapped(*HASHED_COLUMNS, "hash"), 3, BEFORE),
    "swapped, each in the other's link": (
        swapped(*(name for name in HASHED_COLUMNS if name != "previous_hash")),
        3,
        CONTENT,
    ),
    "inserted in the middle": ((*ROOM_AT_4, copied(3, 4)), 4, BEFORE),
    "inserted at the beginning": ((copied(2, 0),), 0, BEFORE),
    "inserted at the end": ((copied(EVENTS, EVENTS + 1),), EVENTS + 1, BEFORE),
    "two ways, of which the first is told": (
        ("UPDATE events SET reason = 'x' WHERE id = 5", "DELETE FROM events WHERE id = 2"),
        3,
        BEFORE,
    ),
}


def test_every_column_of_an_event_is_tried() -> None:
    assert set(CHANGED) == {column.name for column in Event.__table__.columns} - {"id"}


@pytest.mark.parametrize("way", WAYS)
def test_what_was_done_is_found_and_the_first_bad_event_named(
    trail: Store, pathquorum: Command, way: str
) -> None:
    statements, first_bad, problem = WAYS[way]
    tamper(trail, *statements)
    result = pathquorum("audit", "verify", "--json")
    assert result.status == 1
    told = result.json
    assert (told["ok"], told["first_bad"], told["problem"]) == (False, first_bad, problem)
    assert f"Event {first_bad} is bad: {problem}." in pathquorum("audit", "verify").out


@pytest.mark.sqlite
@pytest.mark.parametrize(("column", "value"), [("at", "'soon'"), ("new", "'{'"), ("old", "'\"\\'")])
def test_what_no_event_can_hold_is_found(
    trail: Store, pathquorum: Command, column: str, value: str
) -> None:
    """SQLite takes any value in any column; it is named like any other change, nothing crashes."""
    tamper(trail, f"UPDATE events SET {column} = {value} WHERE id = 4")
    told = pathquorum("audit", "verify", "--json")
    assert (told.status, told.json["first_bad"], told.json["events"]) == (1, 4, EVENTS)
    exported = pathquorum("audit", "export")
    assert (exported.status, exported.out, exported.err.count("\n")) == (1, "", 1)
    assert "event 4" in exported.err
    tamper(trail, "UPDATE events SET reason = 'x' WHERE id = 2")
    assert pathquorum("audit", "verify", "--json").json["first_bad"] == 2


def forged(store: Store, after: int, key: int) -> str:
    """A statement that inserts an event whose hash is right, behind another."""
    with store.reading() as session:
        before = session.scalars(select(Event).where(Event.id == after)).one()
        row: dict[str, Any] = {name: getattr(before, name) for name in HASHED_COLUMNS}
    row |= {"subject": "test:forged", "previous_hash": before.hash}
    return copied(
        after,
        key,
        subject="'test:forged'",
        previous_hash=f"'{before.hash}'",
        hash=f"'{event_hash(row)}'",
    )


def test_an_event_with_a_right_hash_in_the_middle_breaks_the_next_link(
    trail: Store, pathquorum: Command
) -> None:
    tamper(trail, *ROOM_AT_4, forged(trail, 3, 4))
    told = pathquorum("audit", "verify", "--json").json
    assert (told["ok"], told["first_bad"], told["problem"]) == (False, 5, BEFORE)


def test_an_event_with_a_right_hash_at_the_end_is_said_to_be_unseen(
    trail: Store, pathquorum: Command
) -> None:
    """Whoever can write to the database can go on with the chain; nothing in it shows who did."""
    tamper(trail, forged(trail, EVENTS, EVENTS + 1))
    told = pathquorum("audit", "verify")
    assert told.status == 0
    assert "continued there by somebody else looks like this too; keep the head" in told.out


@pytest.mark.parametrize(
    ("how", "statements", "first_bad", "said"),
    [
        ("rewritten", ("UPDATE events SET reason = 'x' WHERE id = 3",), EVENTS, "was rewritten"),
        ("rewritten", ("DELETE FROM events WHERE id = 3",), EVENTS, "was cut"),
        ("rewritten", swapped(*HASHED_COLUMNS, "hash"), EVENTS, "was rewritten"),
        ("rewritten", (*ROOM_AT_4, copied(3, 4)), EVENTS, "was rewritten"),
        ("cut", ("DELETE FROM events WHERE id > 4",), EVENTS, "was cut"),
        ("cut", ("DELETE FROM events",), EVENTS, "was cut"),
    ],
    ids=["changed", "missing", "reordered", "inserted", "cut", "emptied"],
)
def test_only_a_head_shows_what_was_done_to_the_chain_as_a_whole(
    trail: Store,
    pathquorum: Command,
    how: str,
    statements: tuple[str, ...],
    first_bad: int,
    said: str,
) -> None:
    """Without one it looks unbroken, and `verify` says that it cannot see this."""
    head = pathquorum("audit", "verify", "--json").json["head"]
    (rewrite if how == "rewritten" else tamper)(trail, *statements)
    blind = pathquorum("audit", "verify", "--json")
    assert (blind.status, blind.json["ok"]) == (0, True)
    assert "rewritten whole, cut at its end" in blind.json["cannot_see"]
    found = pathquorum("audit", "verify", "--against", head, "--json")
    assert (found.status, found.json["ok"], found.json["first_bad"]) == (1, False, first_bad)
    assert said in found.json["problem"]


def test_a_tail_that_was_cut_and_grew_again_is_found(trail: Store, pathquorum: Command) -> None:
    """As many events as before, each with a right hash."""
    head = pathquorum("audit", "verify", "--json").json["head"]
    tamper(trail, f"DELETE FROM events WHERE id = {EVENTS}")
    with trail.writing() as session:
        record(session, actor=None, action="tested", subject="test:another")
    assert pathquorum("audit", "verify").status == 0
    assert pathquorum("audit", "verify", "--against", head).status == 1


@pytest.mark.sqlite  # what is exported is the same, see below
@pytest.mark.parametrize("name", ["trail.jsonl", "trail.csv"])
@pytest.mark.parametrize("way", WAYS)
def test_an_exported_trail_shows_it_to_the_readmes_program(
    trail: Store,
    pathquorum: Command,
    readme_program: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    way: str,
    name: str,
) -> None:
    """The lines of the README, run as they stand there, on an export of a trail with that fault."""
    monkeypatch.chdir(tmp_path)
    tamper(trail, *WAYS[way][0])
    assert pathquorum("audit", "export", "--to", name).status == 0
    said = "missing or out of order" if WAYS[way][2] == BEFORE else "was changed"
    with pytest.raises(AssertionError, match=said):
        readme_program(name)


@pytest.mark.parametrize("name", ["trail.jsonl", "trail.csv"])
def test_a_changed_export_is_found_by_the_readmes_program(
    trail: Store,
    pathquorum: Command,
    readme_program: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
) -> None:
    """Whoever changes a character, drops a line or swaps two in the file is found as well."""
    monkeypatch.chdir(tmp_path)
    assert pathquorum("audit", "export", "--to", name).status == 0
    whole = Path(name).read_bytes()
    lines = whole.splitlines(keepends=True)
    for tampered in (
        whole.replace(b"test:3", b"test:8", 1),
        whole.replace(b"SUM", b"Sum", 1),
        b"".join(lines[:3] + lines[4:]),
        b"".join([*lines[:3], lines[4], lines[3], *lines[5:]]),
    ):
        assert tampered != whole
        Path(name).write_bytes(tampered)
        with pytest.raises(AssertionError, match=r"missing or out of order|was changed"):
            readme_program(name)
    Path(name).write_bytes(whole)
    readme_program(name)


def test_the_two_exports_hold_the_same(trail: Store, pathquorum: Command, tmp_path: Path) -> None:
    """Also null beside an empty text, an apostrophe in front, and a moment to the microsecond."""
    import csv

    for name in ("trail.jsonl", "trail.csv"):
        assert pathquorum("audit", "export", "--to", tmp_path / name).status == 0
    lines = [json.loads(line) for line in (tmp_path / "trail.jsonl").read_bytes().splitlines()]
    with (tmp_path / "trail.csv").open(encoding="utf-8", newline="") as stream:
        table = [
            {key: cell.removeprefix("'") if cell else None for key, cell in row.items()}
            for row in csv.DictReader(stream)
        ]
    for row, line in zip(table, lines, strict=True):
        kept = {k: json.loads(v) if k in ("id", "old", "new") and v else v for k, v in row.items()}
        assert kept == line
    assert {line["reason"] for line in lines} == {None, "", "'=SUM(A1)"}
    with trail.reading() as session:
        assert [line["at"] for line in lines] == [
            utc_text(event.at) for event in session.scalars(select(Event).order_by(Event.id))
        ]
