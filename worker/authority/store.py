"""
The authority's state in one SQL database: SQLite by default, nothing in it that PostgreSQL lacks.

Secrets are sealed before they come here (`seal.py`). Per data key nothing is stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, ForeignKey, MetaData, Table, event

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s",
    }
)

authority = Table(
    "authority",
    METADATA,
    Column("one", sa.Boolean, primary_key=True),
    Column("region", sa.String(32), nullable=False),
    Column("workspace", sa.String(16), nullable=False),
    Column("token_key", sa.LargeBinary, nullable=False, comment="sealed RSA private key, PKCS#8 DER"),
)
keysets = Table(
    "keysets",
    METADATA,
    Column("id", sa.Uuid, primary_key=True),
    Column("name", sa.String(64), nullable=False, unique=True),
    Column("description", sa.String(256), nullable=False),
    Column("is_disabled", sa.Boolean, nullable=False, default=False),
    Column("is_default", sa.Boolean, nullable=False, default=False),
    Column("k_msg", sa.LargeBinary, nullable=False, comment="sealed; deleting it shreds the keyset"),
    Column("k_tag", sa.LargeBinary, nullable=False, comment="sealed"),
    Column("base", sa.LargeBinary, nullable=False, comment="sealed; every client's share = base then its relation"),
)
clients = Table(
    "clients",
    METADATA,
    Column("id", sa.Uuid, primary_key=True),
    Column("name", sa.String(64), nullable=False, unique=True),
    Column("description", sa.String(256), nullable=False, default=""),
    Column("default_keyset", sa.Uuid, ForeignKey("keysets.id"), nullable=False),
    Column("region", sa.String(32), nullable=False),
    Column("via", sa.Uuid, nullable=True, comment="the client that enrolled it; null for the first"),
    Column("relation", sa.LargeBinary, nullable=False, comment="sealed; relation to the first client, and its p2"),
    Column("created_by", sa.String(128), nullable=False),
)
grants = Table(
    "grants",
    METADATA,
    Column("client", sa.Uuid, ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True),
    Column("keyset", sa.Uuid, ForeignKey("keysets.id", ondelete="CASCADE"), primary_key=True),
)
access_keys = Table(
    "access_keys",
    METADATA,
    Column("key_id", sa.String(32), primary_key=True),
    Column("name", sa.String(64), nullable=False, unique=True),
    Column("digest", sa.LargeBinary, nullable=False, comment="SHA-256 of a secret of 256 random bits"),
    Column("role", sa.String(16), nullable=False),
    Column("created_at", sa.DateTime(timezone=True), nullable=False),
    Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
)
bindings = Table(
    "bindings",
    METADATA,
    Column("key_id", sa.String(32), ForeignKey("access_keys.key_id", ondelete="CASCADE"), primary_key=True),
    Column("client", sa.Uuid, primary_key=True),
)


class Store:
    """
    The database behind one authority; thread-safe.

    Args:
        url: an SQLAlchemy URL, as `sqlite:////var/lib/authority/authority.db`.
    """

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _durable)
        METADATA.create_all(self.engine)

    @classmethod
    def in_file(cls, path: Path) -> Store:
        """Open or make one SQLite file, readable by its owner alone."""
        path.touch(mode=0o600)
        return cls(f"sqlite:///{path}")

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """Begin a transaction; it is durable when the block ends."""
        with self.engine.begin() as connection:
            yield connection

    def rows(self, query: sa.Select[Any]) -> list[sa.Row[Any]]:
        """Return all rows of a query."""
        with self.engine.connect() as connection:
            return list(connection.execute(query))

    def one(self, query: sa.Select[Any]) -> sa.Row[Any] | None:
        """Return the first row or None."""
        with self.engine.connect() as connection:
            return connection.execute(query).first()

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _durable(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
