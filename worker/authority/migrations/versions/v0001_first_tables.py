"""Create the first tables."""

from alembic import op

from worker.authority.schema import metadata

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table of the first version."""
    metadata.create_all(op.get_bind())


def downgrade() -> None:
    """Drop them; everything sealed in them is lost."""
    metadata.drop_all(op.get_bind())
