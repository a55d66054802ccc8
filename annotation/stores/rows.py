"""Rows of a store as lines of text: the same on both databases, in the order of their keys.

Tables are taken as they stand in the database, not as this version knows them, so that a store of
an earlier schema can be kept and moved as well. A line is a JSON array of a row's values by the
names of their columns in rising order: times in UTC, bytes as base64.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any, Protocol

import msgspec
import sqlalchemy as sa
from sqlalchemy import Column, Connection, MetaData, Table, event, select

from annotation.errors import StoreDamagedError
from annotation.stores.schema import current_revision
from annotation.tables import UtcDateTime

__all__ = ["Codec", "Source", "StoreSource", "stored_tables"]

VERSION_TABLE = "alembic_version"
"""Alembic's own; a store that is filled gets its revision from the migrations."""

_ROWS_AT_ONCE = 500
# Pieces of files are of 16 MiB, everything else is small.
_ROWS_AT_ONCE_OF = {"source_chunks": 2}


def stored_tables(connection: Connection) -> list[Table]:
    """The tables of the store that is there; one that refers to another comes after it."""
    metadata = MetaData()
    event.listen(metadata, "column_reflect", _as_we_store)
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != VERSION_TABLE]


def _as_we_store(_inspector: Any, _table: Any, column: Any) -> None:
    if isinstance(column["type"], sa.JSON):
        column["type"] = sa.JSON(none_as_null=True)
    elif isinstance(column["type"], sa.DateTime):
        column["type"] = UtcDateTime()


class Codec:
    """Between the rows of a table and their lines."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.columns = sorted(str(column.name) for column in table.columns)
        self._write = [_writer_of(table.columns[name]) for name in self.columns]
        self._read = [_reader_of(table.columns[name]) for name in self.columns]

    def row(self, line: bytes) -> dict[str, Any]:
        """The row of a line.

        Raises
        ------
        ValueError
            The line is not one of this table.
        """
        content = msgspec.json.decode(line, type=list[Any])
        if len(content) != len(self.columns):
            raise ValueError(f"{len(content)} values for {len(self.columns)} columns")
        return {
            name: None if value is None else read(value)
            for name, read, value in zip(self.columns, self._read, content, strict=True)
        }

    def lines(self, connection: Connection) -> Iterator[bytes]:
        """All rows, by rising key."""
        postgresql = connection.dialect.name == "postgresql"
        query = (
            select(*(self.table.columns[name] for name in self.columns))
            .order_by(*(_ordered(key, postgresql) for key in self.table.primary_key))
            .execution_options(yield_per=_ROWS_AT_ONCE_OF.get(self.table.name, _ROWS_AT_ONCE))
        )
        try:
            with connection.execute(query) as rows:
                for values in rows:
                    content = [
                        None if value is None else write(value)
                        for write, value in zip(self._write, values, strict=True)
                    ]
                    yield msgspec.json.encode(content, order="sorted") + b"\n"
        except (TypeError, ValueError, AttributeError) as error:
            # SQLite takes any value in any column.
            raise StoreDamagedError(
                f"table {self.table.name!r} of the store holds what its columns can't hold "
                f"({error}); bring back a backup",
                table=self.table.name,
            ) from error


def _ordered(key: Column[Any], postgresql: bool) -> Any:
    # SQLite compares bytes; PostgreSQL does so only where it is told.
    return key.collate("C") if postgresql and isinstance(key.type, sa.String) else key


def _writer_of(column: Column[Any]) -> Callable[[Any], Any]:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return _of_type(bool)
    if isinstance(kind, sa.Integer):
        return _of_type(int)
    if isinstance(kind, sa.Float):
        return lambda value: value if math.isfinite(value) else str(value)
    if isinstance(kind, UtcDateTime):
        return lambda value: value.isoformat(timespec="microseconds")
    if isinstance(kind, sa.Date):
        return lambda value: value.isoformat()
    if isinstance(kind, sa.LargeBinary):
        return lambda value: base64.b64encode(value).decode()
    if isinstance(kind, sa.JSON):
        return lambda value: value
    return _of_type(str)


def _of_type(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"{type(value).__name__} where {kind.__name__} is held")
        return value

    return check


def _reader_of(column: Column[Any]) -> Callable[[Any], Any]:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return _of_type(bool)
    if isinstance(kind, sa.Integer):
        return _of_type(int)
    if isinstance(kind, sa.Float):
        return float
    if isinstance(kind, UtcDateTime):
        return datetime.fromisoformat
    if isinstance(kind, sa.Date):
        return date.fromisoformat
    if isinstance(kind, sa.LargeBinary):
        return lambda value: base64.b64decode(value, validate=True)
    if isinstance(kind, sa.JSON):
        return lambda value: value
    return _of_type(str)


class Source(Protocol):
    """Where the rows of a store come from: another store, or a backup of one."""

    revision: str
    columns: dict[str, list[str]]
    """Of each table, in the order of the values of a line."""

    def lines(self, table: str) -> Iterator[bytes]:
        """All rows of a table, by rising key; the same each time."""


class StoreSource:
    """A store that is read on one connection, which sees one state of it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.codecs = {str(table.name): Codec(table) for table in stored_tables(connection)}
        self.columns = {name: codec.columns for name, codec in self.codecs.items()}
        self.revision = str(current_revision(connection))

    def lines(self, table: str) -> Iterator[bytes]:
        """All rows of a table, by rising key."""
        return self.codecs[table].lines(self.connection)
