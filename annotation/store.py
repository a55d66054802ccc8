"""The store: one database, opened and created in one place.

SQLite by default, with foreign keys, write-ahead log and a busy timeout; every write is one
transaction that takes the write lock when it begins, so that two writers queue instead of failing
half-way.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, func, inspect, select
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from annotation.errors import (
    InputError,
    NotAStoreError,
    StoreMissingError,
    StoreNewerError,
    StoreOutdatedError,
    StoreUnavailableError,
)
from annotation.logs import log
from annotation.tables import StoreInfo

__all__ = ["SOFTWARE_VERSION", "Store", "create_or_upgrade", "masked", "now", "open_store"]

SOFTWARE_VERSION = version("pathquorum")

BUSY_TIMEOUT_S = 30
_SECRET_QUERY_KEYS = ("password", "passwd", "sslpassword", "passfile")


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def masked(url: URL) -> str:
    """The URL as it may be shown: without a password, wherever it stands."""
    query = {key: "***" if key in _SECRET_QUERY_KEYS else value for key, value in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


class Store:
    """An open store of the current schema."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @property
    def url(self) -> str:
        """The URL, its password masked."""
        return masked(self.engine.url)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one state of the store and changes nothing."""
        with _database_errors(self.engine.url), Session(self.engine, autoflush=False) as session:
            try:
                yield session
            finally:
                session.expunge_all()  # what was loaded stays readable
                session.rollback()

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session whose changes come in together, or not at all if the block raises.

        What was recorded in the audit trail is logged once it stands in the store.
        """
        writer = self.engine.execution_options(write=True)
        with (
            _database_errors(self.engine.url),
            Session(writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session
        for recorded in session.info.get("recorded", ()):
            log.info("recorded", **recorded)

    def revision(self) -> str:
        """The revision of its schema."""
        with _database_errors(self.engine.url), self.engine.connect() as connection:
            return str(_revision(connection))

    def size_bytes(self) -> int:
        """How much it takes on disk."""
        if _is_file(self.engine.url):
            return _file(self.engine.url).stat().st_size
        with _database_errors(self.engine.url), self.engine.connect() as connection:
            size = select(func.pg_database_size(func.current_database()))
            return int(connection.scalar(size) or 0)

    def close(self) -> None:
        """Give back the connections."""
        self.engine.dispose()


def open_store(url: str) -> Store:
    """Open the store at a database URL.

    Raises
    ------
    StoreMissingError, NotAStoreError, StoreOutdatedError, StoreNewerError, StoreUnavailableError
        What is there can't be used; the message says what to do.
    """
    parsed = _parsed(url)
    if _is_file(parsed) and not _file(parsed).exists():
        raise StoreMissingError(
            f"there is no store at {masked(parsed)}; make one with `pathquorum init`",
            store=masked(parsed),
        )
    engine = _engine(parsed)
    with _database_errors(parsed), engine.connect() as connection:
        present, head = _revision(connection), _head()
    if present is None:
        raise NotAStoreError(
            f"{masked(parsed)} is a database but no pathquorum store; "
            "make one elsewhere with `pathquorum init --store URL`",
            store=masked(parsed),
        )
    if present != head:
        _refuse_newer(present, parsed)
        raise StoreOutdatedError(
            f"the store {masked(parsed)} has the schema {present}, this version needs {head}; "
            "upgrade it with `pathquorum init` (make a copy first)",
            store=masked(parsed),
        )
    return Store(engine)


def create_or_upgrade(url: str) -> tuple[Store, str]:
    """Create a store, or bring an older one to the current schema.

    Returns
    -------
    The open store, and the revision of its schema.
    """
    from alembic import command

    from annotation.audit import record

    parsed = _parsed(url)
    if _is_file(parsed) and not _file(parsed).parent.is_dir():
        raise InputError(
            f"the folder {_file(parsed).parent} does not exist; make it, or choose another --store"
        )
    engine = _engine(parsed)
    with _database_errors(parsed), engine.connect() as connection:
        present = _revision(connection)
        if present is None and inspect(connection).get_table_names():
            raise NotAStoreError(
                f"{masked(parsed)} is a database of something else; choose another --store",
                store=masked(parsed),
            )
    if present is not None:
        _refuse_newer(present, parsed)
    head = _head()
    store = Store(engine)
    if present == head:
        return store, head
    with store.writing() as session:
        command.upgrade(_alembic(connection=session.connection()), "head")
        if present is None:
            session.add(StoreInfo(created_at=now(), salt=secrets.token_hex(16)))
            session.flush()
        record(
            session,
            actor=None,
            action="store created" if present is None else "store upgraded",
            subject="store",
            old=None if present is None else {"revision": present},
            new={"revision": head},
        )
    return store, head


def _alembic(connection: Connection | None = None) -> Any:
    from alembic.config import Config

    # Found beside the installed package, never in the folder the user happens to stand in.
    folder = Path(str(import_module("migrations").__file__)).parent
    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _head() -> str:
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_alembic()).get_current_head()
    if head is None:
        raise StoreUnavailableError("the migrations are missing; install pathquorum again")
    return head


def _revision(connection: Connection) -> str | None:
    """The schema's revision; None where no store of ours is."""
    from alembic.runtime.migration import MigrationContext

    tables = set(inspect(connection).get_table_names())
    if not {"alembic_version", "store_info"} <= tables:
        return None
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(present: str, url: URL) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory.from_config(_alembic()).walk_revisions()}
    if present not in known:
        raise StoreNewerError(
            f"the store {masked(url)} has the schema {present}, which pathquorum "
            f"{SOFTWARE_VERSION} does not know; upgrade pathquorum",
            store=masked(url),
        )


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
        parsed.get_dialect()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError):
        # The text itself may hold a password, so it is not repeated.
        raise InputError(
            "--store is no database URL that can be used here; "
            "write sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME"
        ) from None
    return parsed


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")


def _file(url: URL) -> Path:
    return Path(str(url.database))


def _engine(url: URL) -> Engine:
    try:
        engine = create_engine(
            url,
            json_serializer=lambda value: msgspec.json.encode(value, order="sorted").decode(),
            json_deserializer=msgspec.json.decode,
        )
    except ModuleNotFoundError as error:
        raise StoreUnavailableError(
            f"the store {masked(url)} needs the package {error.name}; "
            "install pathquorum with the extra 'postgresql'",
            store=masked(url),
        ) from error
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
    return engine


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _sqlite_begin
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # A transaction that begins by reading and writes later fails at once where another writer came
    # between; one that takes the write lock first waits for its turn.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _database_errors(url: URL) -> Iterator[None]:
    """Say in one line what the database said."""
    try:
        yield
    except OperationalError as error:
        raise StoreUnavailableError(
            f"the store {masked(url)} cannot be used: {_one_line(error)}; nothing was changed",
            store=masked(url),
        ) from error
    except DatabaseError as error:
        if "file is not a database" in str(error.orig) or "malformed" in str(error.orig):
            raise NotAStoreError(
                f"{masked(url)} is no pathquorum store ({_one_line(error)}); "
                "choose another --store, or bring back a backup",
                store=masked(url),
            ) from error
        raise


def _one_line(error: DatabaseError) -> str:
    return " ".join(str(error.orig).split())


def store_salt(session: Session) -> str:
    """The salt under which logins are digested in this store."""
    return session.scalars(select(StoreInfo.salt)).one()
