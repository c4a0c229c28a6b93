"""Keep when an access key was last exchanged."""

from alembic import op
from sqlalchemy import Column, Float, inspect

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column where the first version's tables were made without it."""
    if "last_used_at" not in {column["name"] for column in inspect(op.get_bind()).get_columns("access_keys")}:
        op.add_column("access_keys", Column("last_used_at", Float))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("access_keys", "last_used_at")
