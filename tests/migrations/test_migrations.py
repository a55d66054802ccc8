"""The migrations and the models say the same, and nothing builds tables past the migrations."""

from __future__ import annotations

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, select, text
from sqlalchemy.exc import DatabaseError

from annotation.store import Store, create_or_upgrade
from annotation.stores.schema import alembic_config, head_revision
from annotation.tables import Assignment, Base, HandedProject, Read, Signature, SigningKey
from consensus.tables import Decision, Dispute

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


def test_a_store_of_the_first_schema_is_upgraded_and_keeps_its_disputes(tmp_path: Path) -> None:
    """Every row stays, what is new is empty, and the table still can't be changed."""
    path = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection=connection), "0001")
        connection.execute(text("INSERT INTO store_info VALUES (1, '2026-01-01', 'salt')"))
        connection.execute(
            text(
                "INSERT INTO disputes (id, run_id, item_id, slide_id, weight, severity) "
                "VALUES (7, 1, 1, 1, 2.5, 1)"
            )
        )
    engine.dispose()
    upgraded, revision = create_or_upgrade(f"sqlite:///{path}")
    assert revision == head_revision()
    with upgraded.engine.connect() as connection:
        (row,) = connection.execute(select(Dispute.__table__)).mappings()
        assert (row["id"], row["weight"], row["entropy"], row["region"]) == (7, 2.5, None, None)
    for change in ("UPDATE disputes SET region = 1", "DELETE FROM disputes"):
        with upgraded.engine.connect() as connection, pytest.raises(DatabaseError, match="append"):
            connection.execute(text(change))
    upgraded.close()


def test_a_store_of_the_second_schema_is_upgraded_and_keeps_its_reads(tmp_path: Path) -> None:
    """Every read stays, and nothing was handed out before there were assignments."""
    path = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection=connection), "0002")
        for row in (
            "store_info VALUES (1, '2026-01-01', 'salt')",
            "reads (id, slide_id, annotator_id, protocol_id, replicate) VALUES (5, 1, 2, 3, 1)",
        ):
            connection.execute(text(f"INSERT INTO {row}"))
    engine.dispose()
    upgraded, revision = create_or_upgrade(f"sqlite:///{path}")
    assert revision == head_revision()
    with upgraded.reading() as session:
        (read,) = session.scalars(select(Read))
        assert (read.id, read.slide_id, read.annotator_id, read.protocol_id) == (5, 1, 2, 3)
        assert session.scalars(select(Assignment)).all() == []
        assert session.scalars(select(HandedProject)).all() == []
    upgraded.close()


def test_a_store_of_the_fourth_schema_is_upgraded_and_keeps_its_decisions(tmp_path: Path) -> None:
    """Every decision stays, and nothing was signed before there were keys."""
    path = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(alembic_config(connection=connection), "0004")
        for row in (
            "store_info VALUES (1, '2026-01-01', 'salt')",
            "decisions (id, dispute_id, at, answer, reason) "
            "VALUES (3, 7, '2026-01-01 00:00:00', 'exclude', 'blurred')",
        ):
            connection.execute(text(f"INSERT INTO {row}"))
    engine.dispose()
    upgraded, revision = create_or_upgrade(f"sqlite:///{path}")
    assert revision == head_revision()
    with upgraded.reading() as session:
        (decision,) = session.scalars(select(Decision))
        assert (decision.id, decision.reason) == (3, "blurred")
        assert session.scalars(select(SigningKey)).all() == []
        assert session.scalars(select(Signature)).all() == []
    upgraded.close()
