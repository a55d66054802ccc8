"""What is asked of one slide, or of one subject, is found by an index and not by reading a table.

Who pulls asks for the objects that were pushed to the slide and for the reader's events; a slide's
page asks for its disputes, and a dispute for those of its region.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes."""
    op.create_index(op.f("ix_events_subject"), "events", ["subject"], unique=False)
    op.create_index(
        op.f("ix_pushed_objects_slide_id"), "pushed_objects", ["slide_id"], unique=False
    )
    op.create_index(op.f("ix_disputes_slide_id"), "disputes", ["slide_id"], unique=False)
    op.drop_index(op.f("ix_disputes_run_id"), table_name="disputes")
    op.create_index(
        op.f("ix_disputes_run_id_region"), "disputes", ["run_id", "region"], unique=False
    )
