"""Let each client have quotas of its own, and be asked for the reason of what it retrieves."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; a client without them is under the authority's own limits."""
    op.add_column("clients", sa.Column("generate_per_minute", sa.BigInteger))
    op.add_column("clients", sa.Column("retrieve_per_minute", sa.BigInteger))
    op.add_column("clients", sa.Column("needs_reason", sa.Boolean))


def downgrade() -> None:
    """Refused: a client's limits must not be widened by going back."""
    raise NotImplementedError("a store of this version is not made into an older one; restore a backup")
