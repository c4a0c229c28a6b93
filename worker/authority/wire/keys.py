"""Bodies that ask for keys."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import AliasChoices, Field, JsonValue

from worker.authority.wire.body import Body, Descriptor, KeysetId


class Element(Body):
    """One context element: exactly one of a tag, a value and an identity claim."""

    Tag: str | None = None
    Value: tuple[str, str] | None = None
    IdentityClaim: str | None = Field(None, validation_alias=AliasChoices("IdentityClaim", "identityClaim"))


class Condition(Body):
    """One condition of a decryption policy."""

    claim: str = Field(min_length=1, max_length=256)
    value: str | None = None


class Policy(Body):
    """A decryption policy: one satisfied condition suffices."""

    conditions: list[Condition] = Field(min_length=1, max_length=32)


class GenerateItem(Body):
    """One key to make; iv is base64 of 16 bytes."""

    iv: str = Field(validation_alias=AliasChoices("iv", "id"))
    descriptor: Descriptor
    context: list[Element] = Field(default=[], max_length=64)
    decryption_policy: Policy | None = None


class RetrieveItem(GenerateItem):
    """One key to make again; tag is 32 byte numbers."""

    tag: list[Annotated[int, Field(ge=0, le=255)]] = Field(max_length=64)
    tag_version: int = Field(0, ge=0, le=1)


class Generate(Body):
    """Keys to make for one client in one keyset."""

    client_id: UUID
    keyset_id: KeysetId = None
    keys: list[GenerateItem]
    unverified_context: dict[str, JsonValue] = Field(default_factory=dict)


class Retrieve(Body):
    """Keys to make again for one client in one keyset."""

    client_id: UUID
    keyset_id: KeysetId = None
    keys: list[RetrieveItem]
    unverified_context: dict[str, JsonValue] = Field(default_factory=dict)


class LoadKeyset(Body):
    """A keyset and its index material."""

    client_id: UUID
    keyset_id: KeysetId = None
