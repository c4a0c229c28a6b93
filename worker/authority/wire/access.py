"""Bodies about who may come in: credentials, access keys, identity providers, memberships."""

from __future__ import annotations

import hashlib
from typing import Any
from uuid import UUID

import orjson
from pydantic import Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from worker.authority.wire.body import Body


class Authorise(Body):
    """A credential to exchange: an access key, or an identity provider's token and the workspace."""

    accessKey: str | None = None
    audience: str | None = None
    oidcToken: str | None = None
    workspaceId: str | None = None


class CreateAccessKey(Body):
    """A new access key: `scopes` narrows the role, `client` is the one it derives for, `keysets` are all it reaches."""

    workspaceId: str | None = None
    keyName: str = Field(min_length=1, max_length=64)
    role: str
    scopes: list[str] | None = None
    client: UUID | None = None
    keysets: list[UUID] | None = None

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        if isinstance(given, dict) and "clients" in given:
            raise PydanticCustomError("clients_is_gone", "say client, one id: an access key has one client")
        return given


class BindAccessKey(Body):
    """The one client of an access key that has none yet."""

    workspaceId: str | None = None
    keyName: str
    client: UUID


class DeleteAccessKey(Body):
    """An access key by name."""

    workspaceId: str | None = None
    keyName: str


class CreateProvider(Body):
    """An identity provider to trust; its keys by URL (https) or given."""

    issuer: str = Field(min_length=1, max_length=512)
    vendor: str = Field(pattern="^(auth0|okta|clerk|supabase|other)$")
    audience: str = Field(min_length=1, max_length=512)
    jwks_uri: str | None = Field(None, pattern="^https://", max_length=512)
    jwks: dict[str, JsonValue] | None = None
    default_role: str | None = None
    default_client: UUID | None = None

    def audited(self) -> dict[str, Any]:
        """Return what was asked for; of the keys, which may be long, what tells them from any others."""
        said = super().audited()
        if self.jwks is not None:
            said["jwks"] = "sha256:" + hashlib.sha256(orjson.dumps(self.jwks, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return said


class ProviderDefault(Body):
    """What a provider's subjects without a membership are; without a role they are refused."""

    default_role: str | None = None
    default_client: UUID | None = None


class CreateMembership(Body):
    """A subject's role."""

    subject: str = Field(min_length=1, max_length=512)
    role: str
    client: UUID | None = None
    keysets: list[UUID] | None = None


class Subject(Body):
    """A token's subject, to block or to let in again."""

    subject: str = Field(min_length=1, max_length=512)
