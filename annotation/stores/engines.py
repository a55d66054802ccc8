"""Connections to a store: how each of the two databases is set, read, written and locked.

Everybody who writes holds the same lock from the first statement of a transaction to its end, so
that writers queue and none of them can work on what another is about to change: on SQLite the
write lock of the file, on PostgreSQL an advisory lock. Readers see one state throughout and wait
for nobody. Who changes the schema excludes both.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from annotation.errors import StoreBusyError, StoreUnavailableError
from annotation.logs import log
from annotation.stores.addresses import is_file, masked
from annotation.stores.failures import busy, certain_commit, database_errors

__all__ = ["claimer", "exclusive", "open_engine", "read_only", "writer"]

BUSY_TIMEOUT_S = 600.0
"""How long a writer waits for its turn: the longest run of somebody else, not a hiccup."""
TELL_AFTER_S = 3.0
"""After so long a person is told what is being waited for."""
EXCLUSIVE_TIMEOUT_S = 5.0
"""How long a change of the schema waits for those who are just about to end."""
_POLL_S = 0.05
_PATIENT, _IMPATIENT = "PRAGMA busy_timeout = 30000", "PRAGMA busy_timeout = 50"

# Keys of PostgreSQL's advisory locks, which hold within one database.
_WRITING, _SCHEMA = 0x7061_7468_7175_6F01, 0x7061_7468_7175_6F02
_QUEUE_TO_WRITE = select(func.pg_advisory_xact_lock(_WRITING))
_KEEP_THE_SCHEMA = select(func.pg_try_advisory_xact_lock_shared(_SCHEMA))
_TAKE_THE_SCHEMA = select(func.pg_try_advisory_xact_lock(_SCHEMA))
_OTHERS_AT_WORK = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL"
)

_UNHEARD = logging.NullHandler()


def open_engine(url: URL, **options: Any) -> Engine:
    """An engine whose transactions see one state of the store and write nothing."""
    postgresql = url.get_backend_name() == "postgresql"
    if postgresql:
        options.setdefault("isolation_level", "REPEATABLE READ")
    try:
        engine = create_engine(
            url,
            json_serializer=lambda value: msgspec.json.encode(value, order="sorted").decode(),
            json_deserializer=msgspec.json.decode,
            **options,
        )
    except ModuleNotFoundError as error:
        raise StoreUnavailableError(
            f"the store {masked(url)} needs the package {error.name}; "
            "install pathquorum with the extra 'postgresql'",
            store=masked(url),
        ) from error
    if postgresql:
        # What psycopg logs beside the error that it raises would be a second line for a person.
        logging.getLogger("psycopg").addHandler(_UNHEARD)
        event.listen(engine, "connect", _postgresql_connect)
        event.listen(engine, "begin", _postgresql_begin)
    else:
        event.listen(engine, "connect", _sqlite_connect)
        event.listen(engine, "begin", _sqlite_begin)
    return engine


def writer(engine: Engine) -> Engine:
    """The same engine, whose transactions queue for the lock of those who write."""
    if engine.dialect.name == "sqlite":
        return engine.execution_options(lock="write")
    # Each statement must see what the writer before has just committed.
    return engine.execution_options(lock="write", isolation_level="READ COMMITTED")


def claimer(engine: Engine) -> Engine:
    """The same engine, whose transactions lock the rows that they change and wait for no writer.

    SQLite knows no locks of rows: there they queue as :func:`writer` has it.
    """
    if engine.dialect.name == "sqlite":
        return writer(engine)
    return engine.execution_options(isolation_level="READ COMMITTED")


@contextmanager
def read_only(url: URL) -> Iterator[Connection]:
    """A connection of its own that sees one state of the store, closed at the end."""
    engine = open_engine(url, poolclass=NullPool)
    try:
        with database_errors(url), engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def exclusive(url: URL) -> Iterator[Connection]:
    """A transaction beside which nobody reads or writes, committed if the block ends well.

    Raises
    ------
    StoreBusyError
        Somebody is using the store.
    """
    engine = open_engine(url, poolclass=NullPool, execution_options={"lock": "exclusive"})
    if engine.dialect.name == "sqlite":
        # Ahead of what else a connection is set to, for that reads the file already.
        event.listen(engine, "connect", _sqlite_exclusive, insert=True)
    else:
        engine = engine.execution_options(isolation_level="READ COMMITTED")
    try:
        with database_errors(url), _connected(engine, url) as connection:
            transaction = connection.begin()
            yield connection
            with certain_commit(url):
                transaction.commit()
    finally:
        engine.dispose()


def _connected(engine: Engine, url: URL) -> Connection:
    """A connection; of a file, once nobody else has it open."""
    deadline_s = time.monotonic() + EXCLUSIVE_TIMEOUT_S
    while True:
        try:
            return engine.connect()
        except OperationalError as error:
            if not is_file(url) or "locked" not in str(error.orig):
                raise
            if time.monotonic() >= deadline_s:
                raise _in_use(url) from error
        time.sleep(_POLL_S)


def _in_use(url: URL) -> StoreBusyError:
    return StoreBusyError(
        f"the store {masked(url)} is in use; try again when nobody works with it",
        store=masked(url),
    )


def _sqlite_exclusive(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _sqlite_begin
    cursor = connection.cursor()
    cursor.execute(_PATIENT)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    # 64 MB, taken as they are needed: an index of a million UUIDs is written all over the place.
    cursor.execute("PRAGMA cache_size = -65536")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    # A transaction that begins by reading and writes later fails at once where another writer came
    # between; one that takes the write lock first waits for its turn.
    if connection.get_execution_options().get("lock") is None:
        connection.exec_driver_sql("BEGIN")
        return
    # SQLite waits deaf to Ctrl+C, so it is asked again and again.
    connection.exec_driver_sql(_IMPATIENT)
    with _telling():
        deadline_s = time.monotonic() + BUSY_TIMEOUT_S
        while not _sqlite_begun(connection):
            if time.monotonic() >= deadline_s:
                raise busy(connection.engine.url)
            time.sleep(_POLL_S)
    connection.exec_driver_sql(_PATIENT)


def _sqlite_begun(connection: Connection) -> bool:
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except OperationalError as error:
        if "locked" not in str(error.orig):
            raise
        return False
    return True


def _postgresql_connect(connection: Any, _record: Any) -> None:
    # A machine that lost its power must not hold the lock until the server's system notices.
    connection.execute("SET tcp_keepalives_idle = 30")
    connection.execute("SET tcp_keepalives_interval = 10")
    connection.execute("SET tcp_keepalives_count = 3")
    connection.execute("SET TIME ZONE 'UTC'")
    connection.commit()


def _postgresql_begin(connection: Connection) -> None:
    lock = connection.get_execution_options().get("lock")
    if lock == "exclusive":
        _exclude_everybody(connection)
        return
    if not connection.scalar(_KEEP_THE_SCHEMA):
        raise StoreBusyError(
            f"the store {masked(connection.engine.url)} is being upgraded; try again in a moment",
            store=masked(connection.engine.url),
        )
    if lock == "write":
        _set_lock_timeout(connection, BUSY_TIMEOUT_S)
        with _telling():
            connection.scalar(_QUEUE_TO_WRITE)


def _exclude_everybody(connection: Connection) -> None:
    deadline_s = time.monotonic() + EXCLUSIVE_TIMEOUT_S
    while not connection.scalar(_TAKE_THE_SCHEMA) or connection.scalar(_OTHERS_AT_WORK):
        if time.monotonic() >= deadline_s:
            raise _in_use(connection.engine.url)
        time.sleep(_POLL_S)
    # Who works past us, as another user whose transactions can't be seen, is waited for as briefly.
    _set_lock_timeout(connection, EXCLUSIVE_TIMEOUT_S)


def _set_lock_timeout(connection: Connection, timeout_s: float) -> None:
    # A limit of 0 would be none.
    limit_ms = max(1, int(timeout_s * 1000))
    connection.scalar(select(func.set_config("lock_timeout", str(limit_ms), True)))


@contextmanager
def _telling() -> Iterator[None]:
    """Tell a person what is being waited for, if it takes long."""
    timer = threading.Timer(
        TELL_AFTER_S, log.warning, args=("waiting for somebody else who writes to the store",)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
