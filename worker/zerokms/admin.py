"""
Keysets and clients, administered over the wire.

Every call raises `KeyAccessDenied` without the scope, `ConfigError` where a name is taken or a value is wrong, and
`KeyServiceUnavailable` without an answer. Source: protocol 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import orjson

from worker.errors import KeyMaterialError
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.derive import ClientKey
from worker.zerokms.wire import decode_base64, keyset_reference

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Keyset:
    """A keyset as the service lists it."""

    id: UUID
    name: str
    description: str
    is_disabled: bool
    is_default: bool


@dataclass(frozen=True, slots=True)
class Client:
    """A client as the service lists it, with the keysets it has been granted."""

    id: UUID
    name: str
    description: str
    keysets: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class NewClient:
    """A client just made; `key` is shown this once and kept nowhere by the service."""

    id: UUID
    name: str
    key: ClientKey = field(repr=False)


class KeyAdministration:
    """Administrative calls with the scopes of one client's service token."""

    def __init__(self, client: ZeroKMSClient) -> None:
        self._client = client

    def create_keyset(self, name: str, description: str) -> Keyset:
        """Create a keyset; `name` is 1-64 of letters, digits, `_`, `-`, `/`."""
        return _read("create-keyset", _keyset, self._call("create-keyset", name=name, description=description))

    def list_keysets(self, *, show_disabled: bool = True) -> list[Keyset]:
        """Return the workspace's keysets."""
        reply = self._call("list-keysets", show_disabled=show_disabled)
        return _read("list-keysets", lambda items: [_keyset(item) for item in items], reply)

    def modify_keyset(self, keyset: str | UUID, *, name: str | None = None, description: str | None = None) -> None:
        """Change a keyset's name or description; None leaves it."""
        self._call("modify-keyset", keyset_id=keyset_reference(keyset), name=name, description=description)

    def enable_keyset(self, keyset: str | UUID) -> None:
        """Let a disabled keyset give keys again."""
        self._call("enable-keyset", keyset_id=keyset_reference(keyset))

    def disable_keyset(self, keyset: str | UUID) -> None:
        """Refuse every key of a keyset until it is enabled."""
        self._call("disable-keyset", keyset_id=keyset_reference(keyset))

    def grant_keyset(self, keyset: str | UUID, client: UUID) -> None:
        """Let a client use a keyset."""
        self._call("grant-keyset", keyset_id=keyset_reference(keyset), client_id=str(client))

    def revoke_keyset(self, keyset: str | UUID, client: UUID) -> None:
        """Take a keyset from a client."""
        self._call("revoke-keyset", keyset_id=keyset_reference(keyset), client_id=str(client))

    def create_client(self, name: str, description: str, *, keyset: str | UUID | None = None) -> NewClient:
        """Create a client; its key comes back once, in this answer."""
        reply = self._call("create-client", keyset_id=keyset_reference(keyset), name=name, description=description)
        return _read("create-client", _new_client, reply)

    def list_clients(self, *, keyset: str | UUID | None = None) -> list[Client]:
        """Return the workspace's clients, or those of one keyset."""
        reply = self._call("list-clients", keyset_id=keyset_reference(keyset))
        return _read("list-clients", lambda items: [_client(item) for item in items], reply)

    def delete_client(self, client: UUID) -> None:
        """Delete a client; its share is gone and no key is given to it any more."""
        self._call("delete-client", client_id=str(client))

    def _call(self, endpoint: str, **body: object) -> Any:
        return self._client.call(endpoint, orjson.dumps(body))


def _read(endpoint: str, reader: Callable[[Any], _T], reply: Any) -> _T:
    try:
        return reader(reply)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise KeyMaterialError(f"{endpoint}: the answer has another shape than the protocol's") from exc


def _keyset(item: dict[str, Any]) -> Keyset:
    return Keyset(
        UUID(item["id"]),
        str(item["name"]),
        str(item["description"]),
        item["is_disabled"],
        item.get("is_default", False),
    )


def _client(item: dict[str, Any]) -> Client:
    granted = item.get("keyset_id") or []
    ids = granted if isinstance(granted, list) else [granted]
    return Client(UUID(item["id"]), str(item["name"]), str(item["description"]), tuple(UUID(i) for i in ids))


def _new_client(item: dict[str, Any]) -> NewClient:
    key = ClientKey.from_cbor(decode_base64(item["client_key"], "a client key"))
    return NewClient(UUID(item["id"]), str(item["name"]), key)
