"""Filling an empty database with the rows of a store: all of them, held against their source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from alembic import command
from sqlalchemy import Column, Connection, Integer, Table, func, inspect, select
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError

from annotation.errors import ConflictError, InputError, SourceError, StoreDamagedError
from annotation.stores.addresses import file_of, is_file, masked
from annotation.stores.chain import chain_head
from annotation.stores.engines import exclusive
from annotation.stores.rows import Codec, Source, stored_tables
from annotation.stores.schema import DROPPABLE, alembic_config, refuse_newer, refuse_other_encoding

__all__ = ["Filled", "fill", "numbered_keys", "set_sequences"]

_BATCH_BYTES = 8 * 1024**2
_BATCH_ROWS = 1000


@dataclass(frozen=True)
class Filled:
    """What came to stand in a store that was filled."""

    revision: str
    head: str
    rows: dict[str, int]


def fill(place: URL, source: Source, what: str, *, head: str) -> Filled:
    """Make the store of a source in an empty or absent database, in one transaction.

    A table that was dropped from the source, as it may be, is there and empty.

    Parameters
    ----------
    what
        The source as it is named in an error.
    head
        Of the source's audit chain, in which that of the new store must end too.

    Raises
    ------
    ConflictError
        The database is not empty.
    SourceError, StoreDamagedError
        What the source holds can't be had, or is not what came to stand there. As after every
        error, there is nothing that was not there before.
    """
    refuse_newer(source.revision, what)
    with _filling(place) as connection:
        command.upgrade(alembic_config(connection), source.revision)
        codecs = {
            table.name: Codec(table)
            for table in stored_tables(connection)
            if table.name in source.columns or table.name not in DROPPABLE
        }
        if {name: codec.columns for name, codec in codecs.items()} != source.columns:
            raise SourceError(
                f"{what} has other tables or columns than a store of the schema "
                f"{source.revision} has; nothing was stored"
            )
        for codec in codecs.values():
            _insert(connection, codec, source, what)
        set_sequences(connection, (codec.table for codec in codecs.values()))
        rows = {name: _compare(connection, codec, source) for name, codec in codecs.items()}
        if chain_head(connection, codecs["events"].table, source.revision) != head:
            raise StoreDamagedError(
                f"the audit trail of {what} does not end in its head {head}; nothing was stored",
                head=head,
            )
    return Filled(source.revision, head, rows)


@contextmanager
def _filling(place: URL) -> Iterator[Connection]:
    """The only transaction on a database in which nothing is yet."""
    if is_file(place) and not file_of(place).parent.is_dir():
        raise InputError(
            f"the folder {file_of(place).parent} does not exist; make it, or choose another place"
        )
    absent = is_file(place) and not file_of(place).exists()
    with exclusive(place) as connection:
        if inspect(connection).get_table_names():
            raise ConflictError(
                f"{masked(place)} is not empty; name a file that does not exist, or an empty "
                "database",
                store=masked(place),
            )
        refuse_other_encoding(connection)
        try:
            yield connection
        except BaseException:
            if absent:
                connection.rollback()
                _remove(place)
            raise


def _remove(place: URL) -> None:
    """Remove the files of a store that never came to be; whoever waits for them makes new ones."""
    path = file_of(place)
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _insert(connection: Connection, codec: Codec, source: Source, what: str) -> None:
    statement = codec.table.insert()
    try:
        for batch in _batches(_parents_first(codec.table, _rows(codec, source, what))):
            connection.execute(statement, batch)
    except (IntegrityError, OverflowError) as error:
        said = error.orig if isinstance(error, IntegrityError) else error
        raise SourceError(
            f"rows of table {codec.table.name!r} in {what} contradict its schema "
            f"({' '.join(str(said).split())}); nothing was stored"
        ) from error


def _rows(codec: Codec, source: Source, what: str) -> Iterator[tuple[dict[str, Any], int]]:
    for number, line in enumerate(source.lines(codec.table.name), start=1):
        try:
            yield codec.row(line), len(line)
        except (TypeError, ValueError) as error:
            raise SourceError(
                f"row {number} of table {codec.table.name!r} in {what} can't be read ({error}); "
                "nothing was stored"
            ) from error


def _parents_first(
    table: Table, rows: Iterator[tuple[dict[str, Any], int]]
) -> Iterator[tuple[dict[str, Any], int]]:
    """Rows in an order in which none refers to a later one of its own table."""
    keys = [key for key in table.foreign_keys if key.column.table is table]
    if not keys:
        yield from rows
        return
    (key,) = keys
    refers_to, name = key.parent.name, key.column.name
    there: set[Any] = {None}
    waiting: dict[Any, list[tuple[dict[str, Any], int]]] = {}
    for row in rows:
        if row[0][refers_to] not in there:
            waiting.setdefault(row[0][refers_to], []).append(row)
            continue
        ready = [row]
        while ready:
            one = ready.pop()
            yield one
            there.add(one[0][name])
            ready += waiting.pop(one[0][name], [])
    for orphans in waiting.values():
        yield from orphans  # which the database refuses


def _batches(rows: Iterator[tuple[dict[str, Any], int]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for row, length in rows:
        batch.append(row)
        size += length
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def set_sequences(connection: Connection, tables: Iterable[Table]) -> None:
    """PostgreSQL numbers on from where a sequence stands, not from the rows that are there."""
    if connection.dialect.name != "postgresql":
        return
    for table in tables:
        for key in numbered_keys(table):
            sequence = func.pg_get_serial_sequence(table.name, key.name)
            last = select(func.max(key)).scalar_subquery()
            connection.execute(select(func.setval(sequence, last)).where(last.is_not(None)))


def numbered_keys(table: Table) -> list[Column[Any]]:
    """The key of a table that numbers its rows by itself, if it has one."""
    keys = list(table.primary_key)
    return [
        key
        for key in keys
        if len(keys) == 1 and isinstance(key.type, Integer) and not key.foreign_keys
    ]


def _compare(connection: Connection, codec: Codec, source: Source) -> int:
    """Hold what stands there against its source, row by row. Gives the number of rows."""
    number = 0
    pairs = zip_longest(codec.lines(connection), source.lines(codec.table.name))
    for number, (made, wanted) in enumerate(pairs, start=1):
        if made != wanted:
            raise StoreDamagedError(
                f"row {number} of table {codec.table.name!r} came to stand otherwise than in its "
                "source; nothing was stored",
                table=codec.table.name,
                row=number,
            )
    return number
