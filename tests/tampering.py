"""Changing a store past its triggers, as whoever owns the database can."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from sqlalchemy import text

from annotation.store import Store


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
            connection.execute(text(statement))
        connection.commit()
