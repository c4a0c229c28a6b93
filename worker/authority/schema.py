"""The tables of the authority's store; nothing in them that SQLite or PostgreSQL lacks."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()
_Json = JSON(none_as_null=True)

meta = Table("meta", metadata, Column("name", String, primary_key=True), Column("value", String, nullable=False))

changes = Table(
    "changes",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("row", String, primary_key=True),
)
"""Which rows each version of the store wrote, as JSON of the table's name and key: what replicas read anew."""

workspaces = Table(
    "workspaces",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String, nullable=False),
    Column("escrow", LargeBinary),
    Column("enrolled", Boolean, nullable=False, default=False),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
)

access_keys = Table(
    "access_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, ForeignKey("workspaces.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("scopes", _Json),
    Column("client", String(36)),
    Column("keysets", _Json),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("last_used_at", Float),
    UniqueConstraint("workspace", "name"),
)

oidc_providers = Table(
    "oidc_providers",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, ForeignKey("workspaces.id"), nullable=False),
    Column("issuer", String, nullable=False),
    Column("vendor", String, nullable=False),
    Column("audience", String, nullable=False),
    Column("jwks_uri", String),
    Column("jwks", _Json),
    Column("default_role", String),
    Column("default_client", String(36)),
    UniqueConstraint("workspace"),
)

memberships = Table(
    "memberships",
    metadata,
    Column("id", String, primary_key=True),
    Column("workspace", String, ForeignKey("workspaces.id"), nullable=False),
    Column("subject", String, nullable=False),
    Column("role", String, nullable=False),
    Column("client", String(36)),
    Column("keysets", _Json),
    UniqueConstraint("workspace", "subject"),
)

blocked_subjects = Table(
    "blocked_subjects",
    metadata,
    Column("workspace", String, ForeignKey("workspaces.id"), primary_key=True),
    Column("subject", String, primary_key=True),
)

keysets = Table(
    "keysets",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("workspace", String, ForeignKey("workspaces.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("description", String, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("secrets", LargeBinary, nullable=False),
    Column("root_share", LargeBinary, nullable=False),
    Column("erasable", String),
    UniqueConstraint("workspace", "name"),
)

clients = Table(
    "clients",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("workspace", String, ForeignKey("workspaces.id"), nullable=False),
    Column("name", String, nullable=False),
    Column("description", String, nullable=False),
    Column("default_keyset", String(36), ForeignKey("keysets.id"), nullable=False),
    Column("region", String, nullable=False),
    Column("via", String(36)),
    Column("relation", LargeBinary, nullable=False),
    Column("state", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("secret_hash", LargeBinary),
    Column("canary", _Json),
    Column("generate_per_minute", BigInteger),
    Column("retrieve_per_minute", BigInteger),
    Column("needs_reason", Boolean),
    UniqueConstraint("workspace", "name"),
)

grants = Table(
    "grants",
    metadata,
    Column("client", String(36), ForeignKey("clients.id"), primary_key=True),
    Column("keyset", String(36), ForeignKey("keysets.id"), primary_key=True),
    Column("share", LargeBinary, nullable=False),
)

shards = Table(
    "shards",
    metadata,
    Column("keyset", String(36), ForeignKey("keysets.id"), primary_key=True),
    Column("prefix", String(64), primary_key=True),
    Column("sealed_in", BigInteger, nullable=False),
    Column("nodes", LargeBinary, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("key", LargeBinary, nullable=False),
)
"""Parts of an erasable keyset's tree: `nodes` under a key of the part's own, `key` is that one under its epoch's."""

erasures = Table(
    "erasures",
    metadata,
    Column("keyset", String(36), ForeignKey("keysets.id"), primary_key=True),
    Column("position", String(16), primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("at", Float, nullable=False),
)
"""What has been erased: positions, which are keyed hashes of names and values, and in which epoch."""

wrapping_keys = Table(
    "wrapping_keys",
    metadata,
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("destroyed_at", Float),
)
"""Keys that are held outside the store: of epochs and of backups."""

AUTHORISING = (
    workspaces,
    signing_keys,
    access_keys,
    oidc_providers,
    memberships,
    blocked_subjects,
    keysets,
    clients,
    grants,
    shards,
    erasures,
    wrapping_keys,
)
"""The tables whose rows the store's head authenticates, parents before what refers to them."""

FIRST = frozenset(str(table.name) for table in AUTHORISING[:9])
"""The tables that every version has had; of a later one the head says nothing while it is empty."""

ADDED = frozenset(
    {("clients", name) for name in ("generate_per_minute", "retrieve_per_minute", "needs_reason")}
    | {("keysets", "erasable")}
)
"""Columns that came later: a row without a value in them is authenticated as it was before there were any."""

INFORMING = frozenset({("access_keys", "last_used_at"), ("shards", "epoch"), ("shards", "key")})
"""Columns that decide nothing by themselves: another value in them opens nothing, and is not authenticated."""
