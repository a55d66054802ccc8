"""The QuPath projects that were handed out, and which image of them is whose reading of what.

Assignments change only in being read or withdrawn; nothing is ever deleted from either table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "handed_projects",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("protocol_id", sa.Integer(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("made_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_handed_projects_annotator_id")
        ),
        sa.ForeignKeyConstraint(
            ["protocol_id"], ["protocols.id"], name=op.f("fk_handed_projects_protocol_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_handed_projects")),
    )
    op.create_table(
        "assignments",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project_id", sa.String(length=36), nullable=False),
        sa.Column("annotator_id", sa.Integer(), nullable=False),
        sa.Column("slide_id", sa.Integer(), nullable=False),
        sa.Column("protocol_id", sa.Integer(), nullable=False),
        sa.Column("replicate", sa.Integer(), nullable=False),
        sa.Column("shown_name", sa.Text(), nullable=False),
        sa.Column("masked", sa.Boolean(), nullable=False),
        sa.Column("image_file", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.Date(), nullable=True),
        sa.Column("handed_sha256", sa.String(length=64), nullable=True),
        sa.Column("assigned_at", UTC_TIME, nullable=False),
        sa.Column("withdrawn_at", UTC_TIME, nullable=True),
        sa.Column("moved_from_id", sa.String(length=36), nullable=True),
        sa.Column("read_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["annotator_id"], ["annotators.id"], name=op.f("fk_assignments_annotator_id")
        ),
        sa.ForeignKeyConstraint(
            ["moved_from_id"], ["assignments.id"], name=op.f("fk_assignments_moved_from_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["handed_projects.id"], name=op.f("fk_assignments_project_id")
        ),
        sa.ForeignKeyConstraint(
            ["protocol_id"], ["protocols.id"], name=op.f("fk_assignments_protocol_id")
        ),
        sa.ForeignKeyConstraint(["read_id"], ["reads.id"], name=op.f("fk_assignments_read_id")),
        sa.ForeignKeyConstraint(["slide_id"], ["slides.id"], name=op.f("fk_assignments_slide_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignments")),
    )
    op.create_index(op.f("ix_assignments_project_id"), "assignments", ["project_id"], unique=False)
    op.create_index(
        op.f("ix_assignments_protocol_id"), "assignments", ["protocol_id"], unique=False
    )
    # One at a time: what was withdrawn may be handed out again.
    op.create_index(
        "uq_assignments_in_force",
        "assignments",
        ["slide_id", "annotator_id", "protocol_id", "replicate"],
        unique=True,
        sqlite_where=sa.text("withdrawn_at IS NULL"),
        postgresql_where=sa.text("withdrawn_at IS NULL"),
    )
