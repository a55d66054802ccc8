"""What is about to be written into a project stands in the store before it stands there.

``assignments.next_sha256``: the state in which a push that is under way, or was stopped, leaves an
image that nobody has saved.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("assignments", sa.Column("next_sha256", sa.String(length=64), nullable=True))
