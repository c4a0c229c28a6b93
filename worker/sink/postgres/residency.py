"""
The region that a database declares of itself, and the signature that ties the declaration to this very server.

A row alone travels with a dump; a signed one holds for one server (its physical standbys included) and one database.
The signature is Ed25519 over this text, in base64::

    worker-residency-1 LF region LF system identifier LF database LF
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import psycopg
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from worker.errors import ConfigError, RegionViolation

_DECLARED = "SELECT to_jsonb(r) FROM worker.residency AS r"
_IDENTITY = "SELECT system_identifier::text, current_database()::text FROM pg_control_system()"


class DeclaredRegion:
    """
    What a database must declare.

    Args:
        region: the worker's.
        key: raw Ed25519 public key of 32 bytes in base64; None takes an unsigned declaration.

    Raises:
        ConfigError: the key is none.
    """

    def __init__(self, region: str, key: str | None) -> None:
        self.region = region
        self._key = _public_key(key) if key is not None else None
        self._accepted: object = None

    @property
    def is_signed(self) -> bool:
        """Whether a declaration counts only with a signature."""
        return self._key is not None

    def verify(self, connection: psycopg.Connection[Any]) -> None:
        """
        Refuse a database that is not of the region; called for every new connection.

        Raises:
            ConfigError: it declares nothing.
            RegionViolation: it declares another region, or is not the server that the declaration was signed for.
        """
        exists = connection.execute("SELECT to_regclass('worker.residency') IS NOT NULL").fetchone()
        row = connection.execute(_DECLARED).fetchone() if exists and exists[0] else None
        self._judge(connection, None if row is None else row[0])

    def verify_again(self, connection: psycopg.Connection[Any]) -> None:
        """Refuse a declaration that has changed on a verified connection; called in every batch's transaction."""
        row = connection.execute(_DECLARED).fetchone()
        if row is None or row[0] != self._accepted:
            self._judge(connection, None if row is None else row[0])

    def _judge(self, connection: psycopg.Connection[Any], declared: dict[str, Any] | None) -> None:
        if declared is None:
            raise ConfigError(
                "the database declares no region. Its administrator declares it once: "
                f"`worker residency declare --region {self.region}`, or the SQL of `worker residency sql`"
            )
        region = declared.get("region")
        if region != self.region:
            raise RegionViolation(
                f"the database declares region {region!r}, this worker is of {self.region!r}. Name a database of this "
                "region, or run that region's worker; is the declaration wrong, its administrator removes the row of "
                f"worker.residency and declares anew: `worker residency declare --region {self.region}`"
            )
        if self._key is not None:
            self._verify_signature(self._key, connection, str(declared.get("signature") or ""))
        self._accepted = declared

    def _verify_signature(self, key: Ed25519PublicKey, connection: psycopg.Connection[Any], signature: str) -> None:
        identity = connection.execute(_IDENTITY).fetchone()
        assert identity is not None
        server, database = identity
        try:
            key.verify(base64.b64decode(signature, validate=True), signed_text(self.region, server, database))
        except (InvalidSignature, binascii.Error, ValueError):
            found = "is signed for another server, or by another key" if signature else "has no signature"
            raise RegionViolation(
                f"expected region {self.region!r} signed with residency_key for database {database!r} of server "
                f"{server}, found a declaration that {found}"
            ) from None


def signed_text(region: str, server: str, database: str) -> bytes:
    """Return the bytes that a declaration's signature covers; `server` is PostgreSQL's system identifier."""
    return f"worker-residency-1\n{region}\n{server}\n{database}\n".encode()


def _public_key(text: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise ConfigError("residency_key is no Ed25519 public key: 32 bytes in base64") from None
