"""Changing a store past its triggers, as whoever owns the database can."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from sqlalchemy import select, text

from annotation.audit import GENESIS, HASHED_COLUMNS, event_hash
from annotation.store import Store
from annotation.tables import Event


def tamper(store: Store, *statements: str) -> None:
    """Run statements that neither a trigger nor a foreign key hinders; afterwards both are there."""
    if store.engine.dialect.name == "sqlite":
        store.close()
        with closing(sqlite3.connect(str(store.engine.url.database))) as file:
            triggers = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            guards = file.execute(triggers).fetchall()
            for name, _ in guards:
                file.execute(f'DROP TRIGGER "{name}"')
            for statement in (*statements, *(guard for _, guard in guards)):
                file.execute(statement)
            file.commit()
        return
    with store.engine.connect() as connection:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()


def rewrite(store: Store, *statements: str) -> None:
    """Run statements, then write the whole chain anew: every hash is right again."""
    tamper(store, *statements)
    with store.reading() as session:
        events = session.scalars(select(Event).order_by(Event.id)).all()
        rows = [{key: getattr(e, key) for key in ("id", *HASHED_COLUMNS)} for e in events]
    previous, relinked = GENESIS, []
    # Hashes are unique, and an inserted event may still bear that of another.
    relinked += [
        f"UPDATE events SET hash = 'old{row['id']}' WHERE id = {row['id']}" for row in rows
    ]
    for row in rows:
        row["previous_hash"] = previous
        previous = event_hash(row)
        relinked.append(
            f"UPDATE events SET previous_hash = '{row['previous_hash']}', hash = '{previous}' "
            f"WHERE id = {row['id']}"
        )
    tamper(store, *relinked)
