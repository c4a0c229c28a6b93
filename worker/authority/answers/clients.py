"""What is answered about clients."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from worker.authority.answers.base import Answer, Base64
from worker.authority.answers.keys import KeyMaterial


class ClientAnswer(Answer):
    """A client."""

    id: UUID
    name: str
    description: str
    created_by: str
    via: UUID | None
    region: str
    state: Literal["proposed", "approved", "masked", "active"]


class LimitedClient(ClientAnswer):
    """A client, and what it is held to where that is not the authority's own."""

    generate_per_minute: int | None
    retrieve_per_minute: int | None
    needs_reason: bool | None


class ListedClient(LimitedClient):
    """A client with the keysets that it has."""

    keyset_id: list[UUID]


class ApprovedClient(ClientAnswer):
    """A client that was approved, with the keyset that it will have."""

    keyset_id: list[UUID]


class MadeClient(Answer):
    """A client whose key the authority made; it is seen this once."""

    id: UUID
    dataset_id: UUID
    name: str
    description: str
    client_key: Base64


class ProposedClient(Answer):
    """A proposed client, and the secret that is for it alone."""

    id: UUID
    dataset_id: UUID
    enrolment_secret: str


class CanaryMaterial(KeyMaterial):
    """The material of the canary's key under the new client's share."""

    iv: Base64


class MaskedClient(Answer):
    """The canary to open; none for a workspace's first client."""

    canary: CanaryMaterial | None


class Deleted(Answer):
    """Which clients were deleted."""

    deleted: list[UUID]
