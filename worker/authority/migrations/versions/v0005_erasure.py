"""Let keysets be erasable: parts of their trees, what has been erased, and the keys that are held outside."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the tables and the column; keysets that are there stay as they are."""
    op.add_column("keysets", sa.Column("erasable", sa.String))
    op.create_table(
        "shards",
        _keyset(),
        sa.Column("prefix", sa.String(64), primary_key=True),
        sa.Column("sealed_in", sa.BigInteger, nullable=False),
        sa.Column("nodes", sa.LargeBinary, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("key", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "erasures",
        _keyset(),
        sa.Column("position", sa.String(16), primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "wrapping_keys",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("made_at", sa.Float, nullable=False),
        sa.Column("destroyed_at", sa.Float),
    )


def _keyset() -> sa.Column[str]:
    return sa.Column("keyset", sa.String(36), sa.ForeignKey("keysets.id"), primary_key=True)


def downgrade() -> None:
    """Refused: what is erased must not be forgotten by going back."""
    raise NotImplementedError("a store of this version is not made into an older one; restore a backup")
