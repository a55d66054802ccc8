"""A store of any schema, with rows in every table that were made from its columns alone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa
from alembic import command
from sqlalchemy import Column, Connection, Table

from annotation.audit import GENESIS, HASHED_COLUMNS, event_hash
from annotation.stores.addresses import parsed
from annotation.stores.engines import exclusive
from annotation.stores.filling import set_sequences
from annotation.stores.rows import StoreSource, stored_tables
from annotation.stores.schema import alembic_config
from annotation.tables import UtcDateTime

ROWS = 3


def make_filled_store(url: str, revision: str) -> None:
    """Make a store of a revision, each of its tables with rows that refer to each other."""
    with exclusive(parsed(url)) as connection:
        command.upgrade(alembic_config(connection), revision)
        tables = stored_tables(connection)
        for table in tables:
            connection.execute(table.insert(), _rows(table))
        set_sequences(connection, tables)


def rows_of(connection: Connection) -> dict[str, list[dict[str, Any]]]:
    """Every row of a store, by table."""
    source = StoreSource(connection)
    return {
        name: [codec.row(line) for line in codec.lines(connection)]
        for name, codec in source.codecs.items()
    }


def _rows(table: Table) -> list[dict[str, Any]]:
    # One salt, one trail; of everything else several.
    numbers = range(1, 2 if table.name == "store_info" else ROWS + 1)
    rows = [{column.name: _value(column, number) for column in table.columns} for number in numbers]
    if table.name == "events":
        previous = GENESIS
        for row in rows:
            row["previous_hash"] = previous
            row["hash"] = previous = event_hash({key: row[key] for key in HASHED_COLUMNS})
    return rows


def _value(column: Column[Any], number: int) -> Any:
    """The number itself in keys and what refers to them, so that all of it holds together."""
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return number % 2 == 0
    if isinstance(kind, sa.Integer):
        return number
    if isinstance(kind, sa.Float):
        return number + 0.25
    if isinstance(kind, UtcDateTime):
        return datetime(2024, 1, number, 12, 30, 15, 123456, tzinfo=UTC)
    if isinstance(kind, sa.Date):
        return date(2024, 2, number)
    if isinstance(kind, sa.LargeBinary):
        return bytes([number, 0, 255])
    if isinstance(kind, sa.JSON):
        return {"number": number, "ä": [None, 0.1]}
    return f"{number}é"
