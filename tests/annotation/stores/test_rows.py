"""Rows are the same after they were lines, and stand in the same order in both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, MetaData, Table, create_engine

from annotation.stores.rows import Codec
from annotation.tables import UtcDateTime

pytestmark = pytest.mark.both_databases

TABLE = Table(
    "things",
    MetaData(),
    Column("name", sa.Text, primary_key=True),
    Column("number", sa.BigInteger),
    Column("length", sa.Double),
    Column("is_so", sa.Boolean),
    Column("at", UtcDateTime),
    Column("day", sa.Date),
    Column("bytes", sa.LargeBinary),
    Column("content", sa.JSON(none_as_null=True)),
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "name": TEXT,
            "number": maybe(st.integers(-(2**63), 2**63 - 1)),
            "length": maybe(st.floats(allow_nan=False)),
            "is_so": maybe(st.booleans()),
            "at": maybe(st.datetimes(timezones=st.just(UTC))),
            "day": maybe(st.dates(min_value=date(1, 1, 1))),
            "bytes": maybe(st.binary(max_size=40)),
            "content": maybe(JSON),
        }
    ),
    unique_by=lambda row: row["name"],
    max_size=6,
)


@pytest.fixture
def engine(empty_database: Callable[[], str]) -> Iterator[Engine]:
    made = create_engine(empty_database())
    with made.begin() as connection:
        connection.execute(sa.schema.CreateTable(TABLE))
    yield made
    made.dispose()


@given(rows=ROWS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_through_lines_and_databases_unchanged(
    engine: Engine, rows: list[dict[str, Any]]
) -> None:
    """What is read as lines gives the same rows, and the same lines again."""
    codec = Codec(TABLE)
    with engine.connect() as connection:
        if rows:
            connection.execute(TABLE.insert(), rows)
        lines = list(codec.lines(connection))
        assert [codec.row(line) for line in lines] == sorted(
            rows, key=lambda row: row["name"].encode()
        )
        connection.execute(TABLE.delete())
        if lines:
            connection.execute(TABLE.insert(), [codec.row(line) for line in lines])
        assert list(codec.lines(connection)) == lines
        connection.rollback()
