"""What orders the queue, and which disputes lie side by side.

The columns are added in place: rebuilding the table would drop the triggers that keep it as it was
written. Earlier disputes have neither, and none can be filled in.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("disputes", sa.Column("entropy", sa.Double(), nullable=True))
    op.add_column("disputes", sa.Column("region", sa.Integer(), nullable=True))
