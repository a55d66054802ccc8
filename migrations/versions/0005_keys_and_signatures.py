"""Keys that sign, and what was signed with them.

A signature is never changed or deleted. Of a key only ``revoked_at`` can be set, once.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)
KEPT = ("id", "annotator_id", "public_key", "fingerprint", "valid_from")


def upgrade() -> None:
    """Create the tables and their triggers."""
    create_tables()
    if op.get_bind().dialect.name == "sqlite":
        create_sqlite_triggers()
    else:
        create_postgresql_triggers()


def create_tables() -> None:
    """Create both tables."""
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("public_key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("valid_from", UTC_TIME, nullable=False),
        sa.Column("revoked_at", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_signing_keys_annotator_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_signing_keys_fingerprint")),
    )
    op.create_index(
        op.f("ix_signing_keys_annotator_id"), "signing_keys", ["annotator_id"], unique=False
    )
    op.create_table(
        "signatures",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("key_id", sa.Integer(), nullable=False),
        sa.Column("meaning", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_signatures_annotator_id")
        ),
        sa.ForeignKeyConstraint(["key_id"], ["signing_keys.id"], name=op.f("fk_signatures_key_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signatures")),
    )
    op.create_index(op.f("ix_signatures_subject"), "signatures", ["subject"], unique=False)


def create_sqlite_triggers() -> None:
    """Refuse to change, delete or replace a row; a key can be revoked once."""
    # Names from this file, never from a user.
    changed = " OR ".join(f"NEW.{column} IS NOT OLD.{column}" for column in KEPT)
    revoked = "OLD.revoked_at IS NOT NULL OR NEW.revoked_at IS NULL"
    refusals = {
        "signatures_no_update": "BEFORE UPDATE ON signatures",
        "signatures_no_delete": "BEFORE DELETE ON signatures",
        "signatures_no_replace": "BEFORE INSERT ON signatures "
        "WHEN EXISTS (SELECT 1 FROM signatures WHERE id = NEW.id)",
        "signing_keys_no_update": f"BEFORE UPDATE ON signing_keys WHEN {changed} OR {revoked}",
        "signing_keys_no_delete": "BEFORE DELETE ON signing_keys",
        "signing_keys_no_replace": "BEFORE INSERT ON signing_keys WHEN EXISTS "
        "(SELECT 1 FROM signing_keys WHERE id = NEW.id OR fingerprint = NEW.fingerprint)",
    }
    for name, when in refusals.items():
        table = name.partition("_no_")[0]
        op.execute(
            f"CREATE TRIGGER {name} {when} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def create_postgresql_triggers() -> None:
    """Refuse to change, delete or truncate a row; a key can be revoked once."""
    for table, verbs in (
        ("signatures", "UPDATE OR DELETE OR TRUNCATE"),
        ("signing_keys", "DELETE OR TRUNCATE"),
    ):
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE {verbs} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION pathquorum_append_only()"
        )
    op.execute(
        "CREATE FUNCTION pathquorum_revoke_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN "
        "IF OLD.revoked_at IS NOT NULL OR NEW.revoked_at IS NULL "
        "OR to_jsonb(NEW) - 'revoked_at' IS DISTINCT FROM to_jsonb(OLD) - 'revoked_at' THEN "
        "RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END IF; RETURN NEW; END $$"
    )
    op.execute(
        "CREATE TRIGGER signing_keys_revoke_only BEFORE UPDATE ON signing_keys "
        "FOR EACH ROW EXECUTE FUNCTION pathquorum_revoke_only()"
    )
