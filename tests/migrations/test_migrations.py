"""The migrations and the models say the same, and nothing builds tables past the migrations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, select, text
from sqlalchemy.exc import DatabaseError

from annotation.store import Store, create_or_upgrade
from annotation.tables import Assignment, Base, HandedProject
from consensus.tables import Dispute
from tests.migrations.filled import make_filled_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.both_databases
def test_the_migrated_schema_is_the_models_schema(store: Store) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_tables_that_others_rely_on_bear_their_names(store: Store) -> None:
    inspector = inspect(store.engine)
    assert {"events", "revisions"} <= set(inspector.get_table_names())
    assert "class" in {column["name"] for column in inspector.get_columns("revisions")}


def test_no_code_builds_tables_past_the_migrations() -> None:
    for package in ("annotation", "consensus", "models", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            if path != Path(__file__):
                assert "create_all(" not in path.read_text(encoding="utf-8"), path


@pytest.mark.both_databases
def test_an_upgraded_store_has_nothing_in_what_is_new_and_is_guarded_still(
    empty_database: Callable[[], str],
) -> None:
    """Nothing was handed out before there were assignments, no dispute had a region."""
    url = empty_database()
    make_filled_store(url, "0001")
    upgraded, _ = create_or_upgrade(url)
    with upgraded.reading() as session:
        assert {dispute.region for dispute in session.scalars(select(Dispute))} == {None}
        assert session.scalars(select(Assignment)).all() == []
        assert session.scalars(select(HandedProject)).all() == []
    for change in ("UPDATE disputes SET region = 1", "DELETE FROM disputes WHERE id = 1"):
        with upgraded.engine.connect() as connection, pytest.raises(DatabaseError, match="append"):
            connection.execute(text(change))
    upgraded.close()
