"""Bind access keys and members to one client, give providers a default, and keep which rows each version wrote."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_KEYSET = tuple(f"dataset:{w}" for w in ("create", "list", "disable", "enable", "grant", "modify", "revoke"))
_DATA = ("data_key:generate", "data_key:retrieve")
_WHOLE = {
    "admin": {
        *_KEYSET,
        *(f"client:{w}" for w in ("create", "list", "delete")),
        *_DATA,
        *(f"access_key:{w}" for w in ("create", "list", "delete", "update")),
    },
    "control": {*_KEYSET, "client:list"},
    "member": {"dataset:list", "client:create", *_DATA},
    "writer": {"data_key:generate", "data_key:retrieve_canary"},
}
"""What each role was; an access key that had it all keeps its role and no list, so that it follows the role."""


def upgrade() -> None:
    """Move what is bound to exactly one client over; several or none become none, and then no key is derived."""
    op.create_table(
        "changes",
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("row", sa.String, primary_key=True),
    )
    nothing = sa.JSON(none_as_null=True)
    with op.batch_alter_table("access_keys") as batch:
        batch.add_column(sa.Column("client", sa.String(36)))
        batch.add_column(sa.Column("keysets", nothing))
        batch.alter_column("scopes", existing_type=sa.JSON, nullable=True)
    with op.batch_alter_table("memberships") as batch:
        batch.add_column(sa.Column("client", sa.String(36)))
        batch.add_column(sa.Column("keysets", nothing))
    with op.batch_alter_table("oidc_providers") as batch:
        batch.add_column(sa.Column("default_role", sa.String))
        batch.add_column(sa.Column("default_client", sa.String(36)))
    _move(op.get_bind())
    with op.batch_alter_table("access_keys") as batch:
        batch.drop_column("clients")


def _move(connection: sa.Connection) -> None:
    json = sa.JSON(none_as_null=True)
    keys = sa.table(
        "access_keys",
        sa.column("id", sa.String),
        sa.column("role", sa.String),
        sa.column("scopes", json),
        sa.column("clients", json),
        sa.column("client", sa.String),
    )
    for row in connection.execute(sa.select(keys)).all():
        only = row.clients[0] if row.clients is not None and len(row.clients) == 1 else None
        scopes = None if set(row.scopes) == _WHOLE.get(row.role) else row.scopes
        where = keys.c.id == row.id
        connection.execute(sa.update(keys).where(where).values(client=only, scopes=scopes))
    for name, column in (("oidc_providers", "jwks"), ("clients", "canary")):
        table = sa.table(name, sa.column("id", sa.String), sa.column(column, json))
        for row in connection.execute(sa.select(table)).all():
            if row[1] is None:
                connection.execute(sa.update(table).where(table.c.id == row.id).values({column: None}))


def downgrade() -> None:
    """Refused: a binding to one client must not be widened by going back."""
    raise NotImplementedError("a store of this version is not made into an older one; restore a backup")
