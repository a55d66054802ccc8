"""Whether a store is whole: its file, schema, rows and references, its trail and what that binds."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from alembic import command
from sqlalchemy import Connection, Table, and_, exists, func, inspect, select, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.orm import Session

from annotation.errors import StoreDamagedError, StoreError
from annotation.pulled_digests import check_pulled
from annotation.stores.addresses import masked, parsed, refuse_missing
from annotation.stores.chain import chain_head
from annotation.stores.engines import open_engine, read_only
from annotation.stores.filling import numbered_keys
from annotation.stores.moving import whole_store
from annotation.stores.rows import StoreSource
from annotation.stores.schema import DROPPABLE, alembic_config, head_revision

__all__ = ["Checked", "check_store"]

_MOST_TOLD = 5
_GUARDED = text("SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger'")
_SQLITE_TRIGGERS = text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger'")
# Of this schema alone, in force whoever writes: neither disabled nor for replicas only.
_POSTGRESQL_GUARDED = text(
    "SELECT DISTINCT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
    "WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND pg_table_is_visible(c.oid)"
)
_NOT_VALIDATED = text(
    "SELECT conname FROM pg_constraint WHERE NOT convalidated "
    "AND connamespace = current_schema()::regnamespace"
)


@dataclass(frozen=True)
class Checked:
    """A store that is whole."""

    revision: str
    current: bool
    rows: dict[str, int]
    head: str
    unbound: int
    """Reads of pulls by an earlier version, whose event holds no digest of what was stored."""


def check_store(url: str) -> Checked:
    """Look at everything a store holds.

    Raises
    ------
    StoreDamagedError
        Something is wrong; the message names the first faults.
    """
    place = parsed(url)
    refuse_missing(place)
    faults: list[str] = []
    head, rows, unbound = "", {}, 0
    with read_only(place) as connection:
        source = whole_store(connection, place)
        faults += _file_faults(connection)
        faults += _schema_faults(connection, source.revision)
        for name in source.columns:
            try:
                rows[name] = sum(1 for _ in source.lines(name))
            except StoreError as error:
                faults.append(str(error))
        for codec in source.codecs.values():
            faults += _orphans(connection, codec.table)
            faults += _sequence_faults(connection, codec.table)
        faults += _source_file_faults(connection, source)
        try:
            head = chain_head(connection, source.codecs["events"].table, source.revision)
        except StoreDamagedError as error:
            faults.append(str(error))
        # A row is held against the trail where both can be read and the trail can be believed.
        if head and source.revision == head_revision() and rows.keys() == source.columns.keys():
            with Session(connection) as session:
                pulled = check_pulled(session)
            faults += map(str, pulled.faults)
            unbound = pulled.unbound
    if faults:
        raise _damaged(place, faults)
    return Checked(source.revision, source.revision == head_revision(), rows, head, unbound)


def _damaged(place: URL, faults: list[str]) -> StoreDamagedError:
    more = f"; and {len(faults) - _MOST_TOLD} more" if len(faults) > _MOST_TOLD else ""
    return StoreDamagedError(
        f"the store {masked(place)} is not whole: {'; '.join(faults[:_MOST_TOLD])}{more}",
        store=masked(place),
        faults=faults,
    )


def _file_faults(connection: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        for (said,) in connection.execute(text("PRAGMA integrity_check(10)")):
            if said != "ok":
                yield f"its file: {said}"
    else:
        for name in connection.scalars(_NOT_VALIDATED):
            yield f"constraint {name} was never held against the rows that are there"


def _schema_faults(connection: Connection, revision: str) -> Iterator[str]:
    """What differs from a store that was made just now."""
    engine = open_engine(make_url("sqlite://"))
    with engine.connect() as reference:
        command.upgrade(alembic_config(reference), revision)
        wanted, found = _shape(reference), _shape(connection)
        for table in sorted(wanted.keys() | found.keys()):
            if table not in found and table in DROPPABLE:
                continue
            if table not in found:
                yield f"table {table} is missing"
            elif table not in wanted:
                yield f"table {table} does not belong there"
            else:
                for part in sorted(wanted[table] - found[table]):
                    yield f"{part} of {table} is missing"
                for part in sorted(found[table] - wanted[table]):
                    yield f"{part} of {table} does not belong there"
        yield from _trigger_faults(connection, reference)
    engine.dispose()


def _shape(connection: Connection) -> dict[str, set[str]]:
    """Columns, keys and indexes of each table, in words that are the same on both databases."""
    inspector = inspect(connection)
    shape = {}
    for table in inspector.get_table_names():
        parts = {f"column {column['name']}" for column in inspector.get_columns(table)}
        primary = inspector.get_pk_constraint(table)["constrained_columns"]
        parts.add(f"primary key ({', '.join(primary)})")
        for key in inspector.get_foreign_keys(table):
            columns = ", ".join(key["constrained_columns"])
            parts.add(f"foreign key ({columns}) to {key['referred_table']}")
        for unique in inspector.get_unique_constraints(table):
            parts.add(f"unique constraint ({', '.join(unique['column_names'])})")
        for index in inspector.get_indexes(table):
            if not index.get("duplicates_constraint"):
                parts.add(f"index {index['name']}")
        shape[table] = parts
    return shape


def _trigger_faults(connection: Connection, reference: Connection) -> Iterator[str]:
    if connection.dialect.name == "sqlite":
        wanted = {tuple(row) for row in reference.execute(_SQLITE_TRIGGERS)}
        found = {tuple(row) for row in connection.execute(_SQLITE_TRIGGERS)}
        for name, table, _ in sorted(wanted - found):
            yield f"trigger {name}, which guards {table}, is missing or was changed"
    else:
        guarded = set(connection.scalars(_POSTGRESQL_GUARDED))
        for table in sorted(set(reference.scalars(_GUARDED)) - guarded):
            yield f"the trigger that guards {table} is missing or out of force"


def _orphans(connection: Connection, table: Table) -> Iterator[str]:
    for key in table.foreign_key_constraints:
        referred = key.referred_table.alias("referred")
        pairs = [(e.parent, referred.c[e.column.name]) for e in key.elements]
        there = exists().where(*(theirs == ours for ours, theirs in pairs))
        query = select(func.count()).where(and_(*(ours.is_not(None) for ours, _ in pairs)), ~there)
        lost = connection.scalar(query.select_from(table))
        if lost:
            columns = ", ".join(ours.name for ours, _ in pairs)
            yield (
                f"{lost} rows of {table.name} refer by {columns} to no row of "
                f"{key.referred_table.name}"
            )


def _sequence_faults(connection: Connection, table: Table) -> Iterator[str]:
    if connection.dialect.name != "postgresql":
        return
    for key in numbered_keys(table):
        sequence = func.pg_get_serial_sequence(table.name, key.name)
        last = connection.scalar(select(func.pg_sequence_last_value(func.to_regclass(sequence))))
        highest = connection.scalar(select(func.max(key)))
        if highest is not None and (last is None or last < highest):
            yield f"{table.name} would number its next row {(last or 0) + 1}, which is there"


def _source_file_faults(connection: Connection, source: StoreSource) -> Iterator[str]:
    """The files that were pulled are known by their digests."""
    from annotation.source_files import source_bytes

    files = source.codecs["source_files"].table
    with Session(connection) as session:
        for sha256 in connection.scalars(select(files.c.sha256)).all():
            try:
                for _ in source_bytes(session, sha256):
                    pass
            except (StoreError, zlib.error):
                yield f"the stored source file {sha256[:12]} is damaged"
