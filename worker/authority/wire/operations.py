"""Bodies of an operator's questions: the audit, backups, unlocking."""

from __future__ import annotations

from uuid import UUID

from pydantic import AwareDatetime, Field

from worker.authority.wire.body import Body


class AuditQuery(Body):
    """Which entries of the audit to read: at most `limit` after the number `after` of a chain, or the newest."""

    subject: str | None = None
    client: UUID | None = None
    keyset: str | None = None
    field: str | None = None
    operation: str | None = None
    outcome: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    chain: UUID | None = None
    after: int = Field(-1, ge=-1, lt=1 << 63)
    limit: int = Field(1000, ge=1, le=5000)
    newest: bool = False


class MakeBackup(Body):
    """Whom a backup is encrypted to: age public keys."""

    recipients: list[str] = Field(min_length=1, max_length=16)


class Unlock(Body):
    """A credential that a restore printed."""

    credential: str = Field(min_length=16, max_length=256)
