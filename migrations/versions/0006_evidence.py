"""What held when a slide was read: entitlement, blinding and assistance; corrections of credentials.

A credential stays as it was recorded. A correction is a row of its own, so that what was believed on
any day can be told afterwards.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)
APPEND_ONLY = ("credential_corrections", "study_statements")


def upgrade() -> None:
    """Add the columns, the tables and their triggers."""
    op.add_column("pull_reads", sa.Column("circumstances", sa.JSON(), nullable=True))
    op.add_column("slides", sa.Column("scanner", sa.Text(), nullable=True))
    op.add_column("slides", sa.Column("stain", sa.Text(), nullable=True))
    op.create_table(
        "credential_corrections",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("credential_id", sa.Integer(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=True),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("withdrawn", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name=op.f("fk_credential_corrections_credential_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credential_corrections")),
    )
    op.create_index(
        op.f("ix_credential_corrections_credential_id"),
        "credential_corrections",
        ["credential_id"],
        unique=False,
    )
    op.create_table(
        "study_statements",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_study_statements")),
    )
    for table in APPEND_ONLY:
        if op.get_bind().dialect.name == "postgresql":
            op.execute(
                f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
                f"ON {table} FOR EACH STATEMENT EXECUTE FUNCTION pathquorum_append_only()"
            )
            continue
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
