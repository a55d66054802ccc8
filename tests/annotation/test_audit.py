"""The chain finds what was changed, removed, inserted or moved past the triggers."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.audit import export_csv, export_lines, quoted_cell, record, verify
from annotation.errors import InputError
from annotation.store import Store
from tests.tampering import tamper

pytestmark = pytest.mark.both_databases


@pytest.fixture
def trail(store: Store) -> Store:
    """A store whose trail has six events."""
    with store.writing() as session:
        for number in range(5):
            record(
                session,
                actor=None,
                action="tested",
                subject=f"test:{number}",
                new={"number": number},
                reason="=SUM(A1)",
            )
    return store


def test_an_untouched_chain_is_ok(trail: Store) -> None:
    with trail.reading() as session:
        found = verify(session)
    assert (found.ok, found.events, found.first_bad) == (True, 6, None)
    assert found.head.startswith("6:")


@pytest.mark.parametrize(
    ("statement", "first_bad"),
    [
        ("UPDATE events SET reason = 'another' WHERE id = 3", 3),
        ("UPDATE events SET new = NULL WHERE id = 4", 4),
        ("UPDATE events SET at = '2020-01-01 00:00:00.000000' WHERE id = 2", 2),
        ("DELETE FROM events WHERE id = 3", 4),
        ("UPDATE events SET id = CASE id WHEN 3 THEN -4 WHEN 4 THEN -3 END WHERE id IN (3, 4)", -4),
        (
            "INSERT INTO events SELECT 7, at, actor, action, subject, old, new, reason, "
            "software_version, previous_hash, 'x' || substr(hash, 2) FROM events WHERE id = 6",
            7,
        ),
    ],
    ids=["reason", "new", "time", "deleted", "reordered", "inserted"],
)
def test_a_tampered_event_is_found(trail: Store, statement: str, first_bad: int) -> None:
    tamper(trail, statement)
    with trail.reading() as session:
        found = verify(session)
    assert not found.ok
    assert found.first_bad == first_bad


def test_a_chain_that_was_cut_is_found_only_against_its_head(trail: Store) -> None:
    with trail.reading() as session:
        head = verify(session).head
    tamper(trail, "DELETE FROM events WHERE id > 4")
    with trail.reading() as session:
        assert verify(session).ok
        found = verify(session, against=head)
    assert not found.ok
    assert "cut" in str(found.problem)


def test_a_head_holds_for_a_store_that_has_grown_since(trail: Store) -> None:
    with trail.reading() as session:
        head = verify(session).head
    with trail.writing() as session:
        record(session, actor=None, action="tested", subject="test:later")
    with trail.reading() as session:
        assert verify(session, against=head).ok


def test_another_stores_head_does_not_fit(trail: Store) -> None:
    with trail.reading() as session:
        found = verify(session, against="3:" + "0" * 64)
    assert found.first_bad == 3


def test_a_head_that_is_none_is_refused(trail: Store) -> None:
    with trail.reading() as session, pytest.raises(InputError, match="COUNT:HASH"):
        verify(session, against="latest")


def test_the_exported_lines_verify_without_this_software(trail: Store) -> None:
    with trail.reading() as session:
        lines = [json.loads(json.dumps(row)) for row in export_lines(session)]
    previous = "0" * 64
    for row in lines:
        content = {key: value for key, value in row.items() if key not in ("id", "hash")}
        assert content["previous_hash"] == previous
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(canonical.encode()).hexdigest()
        assert previous == row["hash"]


def test_csv_cells_that_a_spreadsheet_would_run_are_quoted(trail: Store) -> None:
    stream = io.StringIO()
    with trail.reading() as session:
        assert export_csv(session, stream) == 6
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert rows[1]["reason"] == "'=SUM(A1)"
    assert [quoted_cell(c) for c in ("+1", "-1", "@x", "a=b", 3)] == ["'+1", "'-1", "'@x", "a=b", 3]


def test_no_login_stands_in_the_trail(trail: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "maria.meier")
    with trail.writing() as session:
        event = record(session, actor=None, action="tested", subject="store")
        assert "maria" not in event.actor
        assert event.actor.startswith("login:")


def test_verify_exits_1_and_still_prints_its_document(
    trail: Store, pathquorum: Callable[..., object]
) -> None:
    tamper(trail, "DELETE FROM events WHERE id = 2")
    result = pathquorum("audit", "verify", "--json")
    assert result.status == 1
    assert result.json["first_bad"] == 3
    assert result.json["ok"] is False


def test_export_writes_the_file_that_is_named(
    trail: Store, pathquorum: Callable[..., object], tmp_path: Path
) -> None:
    for name in ("trail.csv", "trail.jsonl"):
        assert pathquorum("audit", "export", "--to", tmp_path / name).status == 0
        assert len((tmp_path / name).read_text().splitlines()) in (6, 7)
