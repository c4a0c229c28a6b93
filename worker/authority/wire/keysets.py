"""Bodies that make, list and change keysets."""

from __future__ import annotations

from pydantic import Field

from worker.authority.wire.body import Body, KeysetId, Name, Text


class NewClient(Body):
    """The client that `create-keyset` may make beside the keyset."""

    client_type: str = "device"
    name: Name


class CreateKeyset(Body):
    """A new keyset."""

    name: Name
    description: str = Field(min_length=1, max_length=256)
    client: NewClient | None = None
    erasable: bool = False


class ListKeysets(Body):
    """Which keysets to list."""

    show_disabled: bool = False


class ModifyKeyset(Body):
    """A keyset's new name or description."""

    keyset_id: KeysetId
    name: Name | None = None
    description: Text | None = None


class OneKeyset(Body):
    """A keyset."""

    keyset_id: KeysetId
