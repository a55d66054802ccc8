"""The migrations and the models say the same, and nothing builds tables past the migrations."""

from __future__ import annotations

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect

import consensus.tables  # noqa: F401 - its tables belong to the schema
from annotation.store import Store
from annotation.tables import Base

ROOT = Path(__file__).resolve().parents[2]


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
