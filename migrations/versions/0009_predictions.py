"""What models say of slides: runs of predictions, and where each of their slides stands.

A run is append-only. Its slides are claimed, given back and finished, so their rows change; each
end is an event of the trail.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the two tables, and the triggers of the first."""
    op.create_table(
        "prediction_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("members", sa.JSON(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("settings_sha256", sa.String(length=64), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_id"], ["models.id"], name=op.f("fk_prediction_runs_model_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction_runs")),
        sa.UniqueConstraint("name", name=op.f("uq_prediction_runs_name")),
    )
    op.create_index(
        op.f("ix_prediction_runs_model_id"), "prediction_runs", ["model_id"], unique=False
    )
    op.create_table(
        "predicted_slides",
        sa.Column("id", BIG_KEY, nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("slide_id", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("claimed_until", UTC_TIME, nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("finished_at", UTC_TIME, nullable=True),
        sa.Column("result", sa.JSON(), nullable=True),
        sa.Column("output_sha256", sa.String(length=64), nullable=True),
        sa.Column("regions_sha256", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["prediction_runs.id"], name=op.f("fk_predicted_slides_run_id")
        ),
        sa.ForeignKeyConstraint(
            ["slide_id"], ["slides.id"], name=op.f("fk_predicted_slides_slide_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predicted_slides")),
        sa.UniqueConstraint("run_id", "slide_id", name=op.f("uq_predicted_slides_run_id_slide_id")),
    )
    op.create_index(
        op.f("ix_predicted_slides_slide_id"), "predicted_slides", ["slide_id"], unique=False
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE TRIGGER prediction_runs_append_only BEFORE UPDATE OR DELETE OR TRUNCATE "
            "ON prediction_runs FOR EACH STATEMENT EXECUTE FUNCTION pathquorum_append_only()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER prediction_runs_no_{verb.lower()} BEFORE {verb} ON prediction_runs "
            "BEGIN SELECT RAISE(ABORT, 'prediction_runs is append-only'); END"
        )
