"""Every earlier schema is upgraded on both databases with every row kept; not while it is used."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import create_engine, text

from annotation.audit import verify
from annotation.errors import StoreBusyError, StoreNewerError, StoreOutdatedError
from annotation.store import create_or_upgrade, open_store
from annotation.stores import engines
from annotation.stores.addresses import parsed
from annotation.stores.engines import read_only
from annotation.stores.schema import head_revision, known_revisions
from annotation.tables import Site
from tests.conftest import CommandResult
from tests.migrations.filled import make_filled_store, rows_of

pytestmark = pytest.mark.both_databases

FIRST = known_revisions()[0]


EARLIER = known_revisions()[:-1]
SOAKED = [pytest.param(revision, marks=pytest.mark.soak) for revision in EARLIER[1:-1]]


@pytest.mark.parametrize("revision", known_revisions())
def test_every_row_of_an_earlier_store_is_there_after_the_upgrade(
    empty_database: Callable[[], str], revision: str
) -> None:
    """Counted, and compared column by column; the only new row is the event that tells of it."""
    url = empty_database()
    make_filled_store(url, revision)
    with read_only(parsed(url)) as connection:
        before = rows_of(connection)
    assert all(before.values())
    store, present = create_or_upgrade(url)
    assert present == head_revision()
    with store.engine.connect() as connection:
        after = rows_of(connection)
    if revision != head_revision():
        told = after["events"].pop()
        assert (told["action"], told["old"]) == ("store upgraded", {"revision": revision})
    for table, rows in before.items():
        kept = [{key: new[key] for key in old} for old, new in zip(rows, after[table], strict=True)]
        assert kept == rows, table
    with store.reading() as session:
        assert verify(session).ok
    store.close()


@pytest.mark.parametrize("revision", [EARLIER[0], *SOAKED, EARLIER[-1]])
def test_an_earlier_store_is_kept_and_moved_as_it_is(
    empty_database: Callable[[], str],
    pathquorum: Callable[..., CommandResult],
    tmp_path: object,
    revision: str,
) -> None:
    """A backup before an upgrade is one of the earlier schema, and so is what comes back of it."""
    url, other = empty_database(), empty_database()
    make_filled_store(url, revision)
    path = f"{tmp_path}/b.zip"
    for asked in (
        ("store", "backup", path, "--store", url, "--json"),
        ("store", "restore", path, "--store", other, "--json"),
    ):
        result = pathquorum(*asked)
        assert result.status == 0, result.err
        assert result.json["revision"] == revision
    with read_only(parsed(url)) as here, read_only(parsed(other)) as there:
        assert rows_of(here) == rows_of(there)
    with pytest.raises(StoreOutdatedError, match="store backup FILE"):
        open_store(other)
    create_or_upgrade(other)[0].close()
    with read_only(parsed(url)) as connection:
        assert rows_of(connection)["events"]


def test_a_store_that_is_read_or_written_is_not_upgraded(
    empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused in one line and as it was; when all have ended, it goes through."""
    monkeypatch.setattr(engines, "EXCLUSIVE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(engines, "_PATIENT", "PRAGMA busy_timeout = 200")
    url = empty_database()
    make_filled_store(url, FIRST)
    engine = engines.open_engine(parsed(url))
    for uses in (engine, engines.writer(engine)):
        with uses.connect() as connection:
            connection.execute(text("SELECT count(*) FROM sites"))
            with pytest.raises(StoreBusyError, match="is in use; try again"):
                create_or_upgrade(url)
            assert rows_of(connection)["sites"]
    engine.dispose()
    create_or_upgrade(url)[0].close()


def test_whoever_works_past_pathquorum_is_seen_as_well(
    empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "EXCLUSIVE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(engines, "_PATIENT", "PRAGMA busy_timeout = 200")
    url = empty_database()
    make_filled_store(url, FIRST)
    foreign = create_engine(url)
    with foreign.connect() as connection:
        connection.execute(text("SELECT count(*) FROM sites"))
        with pytest.raises(StoreBusyError, match="is in use; try again"):
            create_or_upgrade(url)
    foreign.dispose()
    create_or_upgrade(url)[0].close()


def test_while_a_store_is_upgraded_nobody_gets_in(
    empty_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes in the middle is told, and works with the new schema afterwards."""
    url = empty_database()
    make_filled_store(url, FIRST)
    monkeypatch.setattr(engines, "_PATIENT", engines._IMPATIENT)
    with engines.exclusive(parsed(url)), pytest.raises(StoreBusyError):
        open_store(url)
    create_or_upgrade(url)[0].close()
    open_store(url).close()


def test_who_opened_a_store_before_its_upgrade_writes_nothing_into_it(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schema was another when the command began."""
    store = open_store(store_url)
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreOutdatedError, match="run this again"), store.writing() as session:
        session.add(Site(name="A"))
    store.close()


def test_a_newer_store_is_not_upgraded(store_url: str) -> None:
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreNewerError, match="upgrade pathquorum"):
        create_or_upgrade(store_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    engine.dispose()
