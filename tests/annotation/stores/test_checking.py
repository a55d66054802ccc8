"""A check names what is wrong with a store, whatever it is, and passes one that is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from annotation.store import Store, open_store
from tests.annotation.stores.conftest import Study, done
from tests.tampering import tamper

pytestmark = pytest.mark.both_databases


@pytest.fixture
def told(worked: Study, store_url: str) -> Callable[..., str]:
    """Changes the store past its triggers, and gives what a check says."""

    def call(*statements: str) -> str:
        store = open_store(store_url)
        tamper(store, *statements)
        store.close()
        result = worked("store", "check")
        assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
        return result.err

    return call


def test_a_store_that_is_whole_passes(worked: Study, store_url: str) -> None:
    document = done(worked("store", "check", "--json")).json
    assert document["tables"]["revisions"] == 6
    assert document["rows"] == sum(document["tables"].values())
    assert document["head"] == done(worked("audit", "verify", "--json")).json["head"]
    assert document["current"] is True
    assert "is whole" in done(worked("store", "check")).out


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("DELETE FROM patients", "refer by patient_id to no row of patients"),
        ("UPDATE events SET actor = 'x' WHERE id = 2", "event 2 is bad"),
        ("UPDATE source_chunks SET data = substr(data, 2)", "source file"),
        ("DELETE FROM source_chunks", "source file"),
        ("DROP INDEX ix_revisions_pull_id", "index ix_revisions_pull_id of revisions is missing"),
        ("CREATE TABLE songs (title TEXT)", "table songs does not belong there"),
        (
            "ALTER TABLE sites ADD COLUMN rating TEXT",
            "column rating of sites does not belong there",
        ),
        ("DROP TABLE assignments", "table assignments is missing"),
    ],
)
def test_what_is_wrong_is_named(told: Callable[..., str], statement: str, said: str) -> None:
    assert said in told(statement)


def test_a_trigger_that_is_out_of_force_is_named(worked: Study, store: Store) -> None:
    """The rows are whole, but no longer guarded."""
    with store.engine.begin() as connection:
        connection.execute(
            text("DROP TRIGGER events_no_update")
            if connection.dialect.name == "sqlite"
            else text("ALTER TABLE events DISABLE TRIGGER ALL")
        )
    result = worked("store", "check")
    assert result.status == 1
    assert "trigger" in result.err
    assert "guards events" in result.err


def test_a_sequence_that_lags_behind_is_named(told: Callable[..., str], database: str) -> None:
    if database == "sqlite":
        pytest.skip("SQLite numbers on from the rows that are there")
    said = told("SELECT setval(pg_get_serial_sequence('revisions', 'id'), 1)")
    assert "revisions would number its next row 2, which is there" in said


@pytest.mark.sqlite
def test_a_file_whose_pages_were_overwritten_is_named(worked: Study, store_url: str) -> None:
    path = Path(store_url.removeprefix("sqlite:///"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    result = worked("store", "check")
    assert (result.status, result.out) == (1, "")
    assert "Error: " in result.err
    assert str(path) in result.err
