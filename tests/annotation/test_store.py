"""Opening and creating stores: what is refused says what to do, and history cannot be changed."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, func, select, text
from sqlalchemy.exc import DatabaseError

from annotation.audit import record
from annotation.errors import (
    InputError,
    NotAStoreError,
    StoreMissingError,
    StoreNewerError,
    StoreUnavailableError,
)
from annotation.store import Store, create_or_upgrade, open_store
from annotation.stores.schema import head_revision
from annotation.tables import Event, Site

pytestmark = pytest.mark.both_databases


def test_a_missing_store_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(StoreMissingError, match="pathquorum init") as caught:
        open_store(f"sqlite:///{tmp_path / 'none.db'}")
    assert isinstance(caught.value, FileNotFoundError)
    assert not (tmp_path / "none.db").exists()


def test_init_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        create_or_upgrade(f"sqlite:///{tmp_path / 'no' / 'store.db'}")


def test_a_file_that_is_no_database_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but longer than the header of one would be" * 20)
    before = path.read_bytes()
    for use in (open_store, create_or_upgrade):
        with pytest.raises(NotAStoreError, match=r"notes\.txt"):
            use(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE songs (title TEXT)")
    other.close()
    for use in (open_store, create_or_upgrade):
        with pytest.raises(NotAStoreError):
            use(f"sqlite:///{path}")


def test_a_store_of_a_later_version_is_refused(store_url: str) -> None:
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    for use in (open_store, create_or_upgrade):
        with pytest.raises(StoreNewerError, match="upgrade pathquorum"):
            use(store_url)


def test_init_twice_changes_nothing(store_url: str, store: Store) -> None:
    with store.reading() as session:
        before = session.scalar(select(func.count()).select_from(Event))
    again, revision = create_or_upgrade(store_url)
    with again.reading() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == before == 1
    again.close()
    assert revision == head_revision()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "nonsense",
        "mongodb://user:hunter2@host/x",
        "mysql://user:hunter2@host/x",
        "postgresql+psycopg://user:a@hunter2@host/x",
        "sqlite:/x:y",
        "sqlite://",
        "sqlite:///:memory:",
    ],
)
def test_an_unusable_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InputError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


def test_a_password_is_masked_in_every_place_of_a_url() -> None:
    from sqlalchemy.engine import make_url

    from annotation.store import masked

    shown = masked(make_url("postgresql://u:hunter2@h/db?password=hunter2&sslpassword=hunter2"))
    assert "hunter2" not in shown


def test_a_block_that_raises_writes_nothing(store: Store) -> None:
    def fail_half_way() -> None:
        with store.writing() as session:
            session.add(Site(name="A"))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with store.reading() as session:
        assert session.scalars(select(Site)).all() == []


def test_a_reading_session_leaves_no_trace(store: Store) -> None:
    with store.reading() as session:
        session.add(Site(name="A"))
        session.flush()
    with store.reading() as session:
        assert session.scalars(select(Site)).all() == []


def test_a_store_that_stays_locked_is_one_clear_line(
    store_url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation.stores.engines.BUSY_TIMEOUT_S", 0)
    impatient = open_store(store_url)
    with store.writing() as holder:
        holder.add(Site(name="A"))
        holder.flush()
        with (
            pytest.raises(StoreUnavailableError, match="keeps it locked; nothing was changed"),
            impatient.writing() as session,
        ):
            session.scalars(select(Site)).all()
    impatient.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE events SET reason = 'x'", "DELETE FROM events WHERE id = 1"]
)
def test_the_database_itself_refuses_to_change_an_event(store: Store, statement: str) -> None:
    refuses(store, statement)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO events SELECT * FROM events",
        "REPLACE INTO events (id, at, actor, action, subject, software_version, previous_hash, "
        "hash) SELECT 99, at, actor, action, subject, software_version, previous_hash, hash "
        "FROM events",
    ],
)
def test_sqlite_refuses_to_replace_an_event(store: Store, statement: str) -> None:
    refuses(store, statement)


def refuses(store: Store, statement: str) -> None:
    with store.writing() as session:
        record(session, actor=None, action="tested", subject="store")
    with pytest.raises(DatabaseError, match="append-only"), store.engine.begin() as connection:
        connection.execute(text(statement))
