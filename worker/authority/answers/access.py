"""What is answered about who may come in."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, JsonValue

from worker.authority.answers.base import Answer, Seconds


class Workspace(Answer):
    """A workspace."""

    id: str
    name: str
    region: str


class AccessKeyAnswer(Answer):
    """An access key without its secret; `lastUsedAt` to the minute."""

    keyId: str
    workspaceId: str
    keyName: str
    createdAt: Seconds
    lastUsedAt: Seconds | None
    role: str
    scopes: list[str] | None
    client: UUID | None
    keysets: list[UUID] | None


class MadeAccessKey(Answer):
    """A new access key, seen this once."""

    accessKey: Annotated[str, Field(pattern=r"^CSAK[^.]+\..+$")]


class BoundAccessKey(Answer):
    """An access key and its client."""

    keyName: str
    client: UUID


class ProviderAnswer(Answer):
    """A trusted identity provider."""

    id: UUID
    issuer: str
    vendor: str
    audience: str
    jwks_uri: str | None
    default_role: str | None
    default_client: UUID | None


class MembershipAnswer(Answer):
    """A subject's role."""

    id: UUID
    subject: str
    role: str
    client: UUID | None
    keysets: list[UUID] | None


class SubjectAnswer(Answer):
    """A token's subject."""

    subject: str


class Token(Answer):
    """A service token, and when it ends in seconds since 1970."""

    accessToken: str
    expiry: int


class Jwks(Answer):
    """The public keys that tokens are verified with (RFC 7517)."""

    keys: list[dict[str, JsonValue]]
