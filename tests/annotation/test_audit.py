"""The trail as it is written, verified and exported; ``test_audit_tampering`` changes it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from annotation.audit import export_csv, quoted_cell, record, verify
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


def test_csv_cells_that_a_spreadsheet_would_run_are_quoted(trail: Store) -> None:
    stream = io.StringIO()
    with trail.reading() as session:
        assert export_csv(session, stream) == 6
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert rows[1]["reason"] == "'=SUM(A1)"
    assert [quoted_cell(c) for c in ("+1", "@x", "'", "a=b", 3)] == ["'+1", "'@x", "''", "a=b", 3]


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
