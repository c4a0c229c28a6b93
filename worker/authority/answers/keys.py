"""What is answered about keys, keysets, and what was erased in them."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from worker.authority.answers.base import LEFT_OUT, Answer, Base64, Seconds
from worker.authority.wire import Policy

Material = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{704}$")]
"""Base64 of 528 bytes."""


class FreshKey(Answer):
    """A fresh key's material and tag, and its decryption policy as it was completed."""

    key_material: Material
    tag: Base64
    decryption_policy: Policy = LEFT_OUT


class FreshKeys(Answer):
    """One for each item, in order."""

    keys: list[FreshKey]


class KeyMaterial(Answer):
    """A key's material."""

    key_material: Material


class KeysAgain(Answer):
    """One for each item, in order."""

    keys: list[KeyMaterial]


class Granted(Answer):
    """A key that was made again."""

    Ok: KeyMaterial


class NotGranted(Answer):
    """Why a key was not made again."""

    Err: str


class EachKeyAgain(Answer):
    """One for each item, in order, each answered for itself."""

    keys: list[Granted | NotGranted]


class KeysetAnswer(Answer):
    """A keyset; that subjects can be erased from it stands in those alone that can."""

    id: UUID
    name: str
    description: str
    is_disabled: bool
    is_default: bool
    erasable: Literal[True] = LEFT_OUT


class LoadedKeyset(Answer):
    """A keyset and its index material for one client."""

    partial_index_key: KeyMaterial
    dataset: KeysetAnswer


class ClientBeside(Answer):
    """The client that was made with a keyset; its key is seen this once."""

    id: UUID
    client_key: Base64


class MadeKeyset(KeysetAnswer):
    """A new keyset, and the client made with it where that was asked for."""

    client: ClientBeside = LEFT_OUT


class ErasedValue(Answer):
    """Whether a value is kept, refused or gone, and since when."""

    position: str
    state: Literal["kept", "refused", "gone"]
    refused_at: Seconds = LEFT_OUT
    gone_at: Seconds | None = LEFT_OUT


class ErasureAnswer(Answer):
    """What became of each value, in order; which backups hold those that are erased."""

    keyset: UUID
    claim: Literal["gone", "refused"]
    values: list[ErasedValue]
    backups: list[str]
