"""Bodies that enrol, list and delete clients."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import Field

from worker.authority.wire.body import Body, Descriptor, KeysetId, Name, Text


class ClientKeyset(Body):
    """A client and a keyset."""

    client_id: UUID
    keyset_id: KeysetId


class CreateClient(Body):
    """A client whose key the authority makes; off unless the operator chose so."""

    keyset_id: KeysetId = None
    name: Name
    description: Text = ""


class ListClients(Body):
    """Whose clients to list."""

    keyset_id: KeysetId = None


class DeleteClient(Body):
    """A client; `cascade` takes those that were enrolled through it too, `last` is its name where it is the last."""

    client_id: UUID
    cascade: bool = False
    last: str | None = None


class ClientLimits(Body):
    """What one client is held to; what is left out stays, and null is the authority's own."""

    client_id: UUID
    generate_per_minute: int | None = Field(None, ge=1, le=10**12)
    retrieve_per_minute: int | None = Field(None, ge=1, le=10**12)
    needs_reason: bool | None = None

    def audited(self) -> dict[str, Any]:
        """Return what was asked for, what is taken off included."""
        return self.model_dump(mode="json", exclude_unset=True)


class Relation(Body):
    """A permutation of 16 and one of 33: how two clients' shares differ."""

    p1: list[int] = Field(min_length=16, max_length=16)
    p3: list[int] = Field(min_length=33, max_length=33)


class Canary(Body):
    """A value's public parts and a commitment to what only its key can show (32 bytes, hex)."""

    iv: str
    tag: str
    descriptor: Descriptor
    commitment: str = Field(pattern=r"^[0-9a-f]{64}$")


class ProposeClient(Body):
    """First step of an enrolment; `via`, `relation` and `canary` together, all absent for the first client."""

    unaudited = frozenset({"relation"})

    name: Name
    description: Text = ""
    region: str
    keyset_id: KeysetId = None
    via: UUID | None = None
    relation: Relation | None = None
    canary: Canary | None = None


class ApproveClient(Body):
    """An admin's consent to a proposed client."""

    client_id: UUID


class MaskClient(Body):
    """Second step: the new client's own relation and the permutation p2 it shares with the authority."""

    unaudited = frozenset({"enrolment_secret", "relation", "p2"})

    client_id: UUID
    enrolment_secret: str
    relation: Relation
    p2: list[int] = Field(min_length=16, max_length=16)


class ActivateClient(Body):
    """Last step: the proof that the canary opened; empty for the first client."""

    unaudited = frozenset({"enrolment_secret", "proof"})

    client_id: UUID
    enrolment_secret: str
    proof: str = ""
