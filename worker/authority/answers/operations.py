"""What an operator and an auditor are answered."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from worker.authority.answers.base import Answer, Base64, Digest, Seconds


class Unlocked(Answer):
    """How many more credentials are to be presented."""

    missing: int


class EndedEpoch(Answer):
    """Whether an epoch ended, the keys destroyed, and the present epoch."""

    moved: bool
    destroyed: list[str]
    epoch: int


class BackupKey(Answer):
    """A key that a backup's trees are under."""

    name: str
    number: int
    made_at: Seconds
    destroyed_at: Seconds | None


class ExpiredBackup(Answer):
    """A key that was destroyed."""

    name: str
    destroyed_at: Seconds


class AuditEntry(BaseModel):
    """A line of the audit; what else stands in it depends on the operation."""

    model_config = ConfigDict(extra="allow", frozen=True)

    time: str
    region: str
    operation: str
    outcome: Literal["allowed", "refused", "malformed", "failed"]
    workspace: str
    subject: str
    chain: UUID
    seq: int
    prev: Digest
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    incarnation: int
    store: int


class AuditHead(Answer):
    """The newest line of a chain, signed."""

    chain: UUID
    seq: int
    hash: Digest
    incarnation: int
    version: int
    region: str
    signature: Base64


class Ready(Answer):
    """Whether keys can be derived; of each part "ok" or why not."""

    ready: bool
    region: str
    store: str
    audit: str
    derivation: str


class Counts(Answer):
    """How much is in the caller's workspace."""

    keysets: int
    clients: int
    access_keys: int
    memberships: int


class Status(Ready):
    """How the authority is."""

    version: int
    incarnation: int
    audit_head: AuditHead
    chains: list[str]
    counts: Counts


class Alive(Answer):
    """That the process answers."""

    alive: Literal[True]


class AuditKey(Answer):
    """The public key that heads of the audit are verified with: base64 of 32 bytes."""

    algorithm: Literal["Ed25519"]
    key: Base64
