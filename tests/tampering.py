"""Changing a store past its triggers, as whoever owns the database can."""

from __future__ import annotations

from sqlalchemy import text

from annotation.store import Store


def tamper(store: Store, *statements: str) -> None:
    """Run statements that no trigger hinders."""
    with store.engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL session_replication_role = replica"))
        else:
            triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            for name in connection.scalars(text(triggers)).all():
                connection.execute(text(f'DROP TRIGGER "{name}"'))
        for statement in statements:
            connection.execute(text(statement))
        connection.commit()
