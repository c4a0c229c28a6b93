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
)
"""The tables whose rows the store's head authenticates, parents before what refers to them."""

ADDED = frozenset({("clients", name) for name in ("generate_per_minute", "retrieve_per_minute", "needs_reason")})
"""Columns that came later: a row without a value in them is authenticated as it was before there were any."""

INFORMING = frozenset({("access_keys", "last_used_at")})
"""Columns that decide nothing; they are written without a new version of the store."""
