"""Create the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _workspace(*, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column("workspace", sa.String, sa.ForeignKey("workspaces.id"), primary_key=primary_key, nullable=False)


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=nullable)


def upgrade() -> None:
    """Create every table of the first version."""
    op.create_table("meta", sa.Column("name", sa.String, primary_key=True), _text("value"))
    op.create_table(
        "workspaces",
        sa.Column("id", sa.String(16), primary_key=True),
        _text("name"),
        sa.Column("escrow", sa.LargeBinary),
        sa.Column("enrolled", sa.Boolean, nullable=False),
    )
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.String, primary_key=True),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "access_keys",
        sa.Column("id", sa.String, primary_key=True),
        _workspace(),
        _text("name"),
        _text("role"),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("clients", sa.JSON),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("workspace", "name", name="access_keys_workspace_name"),
    )
    op.create_table(
        "oidc_providers",
        sa.Column("id", sa.String, primary_key=True),
        _workspace(),
        _text("issuer"),
        _text("vendor"),
        _text("audience"),
        _text("jwks_uri", nullable=True),
        sa.Column("jwks", sa.JSON),
        sa.UniqueConstraint("workspace"),
    )
    op.create_table(
        "memberships",
        sa.Column("id", sa.String, primary_key=True),
        _workspace(),
        _text("subject"),
        _text("role"),
        sa.UniqueConstraint("workspace", "subject"),
    )
    op.create_table("blocked_subjects", _workspace(primary_key=True), sa.Column("subject", sa.String, primary_key=True))
    _keys_and_clients()


def _keys_and_clients() -> None:
    op.create_table(
        "keysets",
        sa.Column("id", sa.String(36), primary_key=True),
        _workspace(),
        _text("name"),
        _text("description"),
        sa.Column("is_disabled", sa.Boolean, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("secrets", sa.LargeBinary, nullable=False),
        sa.Column("root_share", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("workspace", "name"),
    )
    op.create_table(
        "clients",
        sa.Column("id", sa.String(36), primary_key=True),
        _workspace(),
        _text("name"),
        _text("description"),
        sa.Column("default_keyset", sa.String(36), sa.ForeignKey("keysets.id"), nullable=False),
        _text("region"),
        _text("via", 36, nullable=True),
        sa.Column("relation", sa.LargeBinary, nullable=False),
        _text("state"),
        _text("created_by"),
        sa.Column("secret_hash", sa.LargeBinary),
        sa.Column("canary", sa.JSON),
        sa.UniqueConstraint("workspace", "name"),
    )
    op.create_table(
        "grants",
        sa.Column("client", sa.String(36), sa.ForeignKey("clients.id"), primary_key=True),
        sa.Column("keyset", sa.String(36), sa.ForeignKey("keysets.id"), primary_key=True),
        sa.Column("share", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    """Drop them; everything sealed in them is lost."""
    for name in ("grants", "clients", "keysets", "blocked_subjects", "memberships", "oidc_providers", "access_keys"):
        op.drop_table(name)
    for name in ("signing_keys", "workspaces", "meta"):
        op.drop_table(name)
