"""Roles, scopes, access keys, and who a caller is."""

from __future__ import annotations

import base64
import hashlib
import os
from dataclasses import dataclass, field
from typing import Any

from worker.authority.refusal import Refusal

CANARY_DESCRIPTOR = "zk-canary"
"""A `writer` may retrieve keys of this descriptor only, the worker's canary's; it is bound into the tag."""

_KEYSET = tuple(f"dataset:{w}" for w in ("create", "list", "disable", "enable", "grant", "modify", "revoke"))
_CLIENT = ("client:create", "client:list", "client:delete")
_DATA = ("data_key:generate", "data_key:retrieve")
_ACCESS = tuple(f"access_key:{w}" for w in ("create", "list", "delete", "update"))
CANARY_SCOPE = "data_key:retrieve_canary"

ROLES: dict[str, tuple[str, ...]] = {
    "admin": (*_KEYSET, *_CLIENT, *_DATA, *_ACCESS),
    "control": (*_KEYSET, "client:list"),
    "member": ("dataset:list", "client:create", *_DATA),
    "writer": ("data_key:generate", CANARY_SCOPE),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who a verified service token speaks for.

    Args:
        workspace: 16 characters.
        subject: the token's `sub`.
        scopes: what it may do.
        roles: admin, control, member or writer.
        access_key: the id of the access key behind the token, None for an OIDC user.
        claims: what an identity claim may be read from.
    """

    workspace: str
    subject: str
    scopes: frozenset[str]
    roles: frozenset[str]
    access_key: str | None
    claims: dict[str, str] = field(repr=False)

    def require(self, scope: str) -> None:
        """Raise a 403 without `scope`."""
        if scope not in self.scopes:
            raise Refusal(403, f"Not permitted: {scope} is missing")

    def require_role(self, role: str) -> None:
        """Raise a 403 without `role`."""
        if role not in self.roles:
            raise Refusal(403, f"Not permitted: needs the role {role}")


def new_access_key() -> tuple[str, str, bytes]:
    """Return an id, the whole key for its owner, and the hash that the store keeps."""
    key_id = base64.b32encode(os.urandom(10)).decode()
    secret = base64.b32encode(os.urandom(32)).decode().rstrip("=")
    return key_id, f"CSAK{key_id}.{secret}", hash_secret(secret)


def hash_secret(secret: str) -> bytes:
    """Hash a secret of 256 random bits; no slow hash is needed for those."""
    return hashlib.sha256(secret.encode()).digest()


def scopes_for(role: str, wanted: Any) -> list[str]:
    """Return a role's scopes, narrowed to `wanted` where given; refuses what the role does not have."""
    have = ROLES.get(role)
    if have is None:
        raise Refusal(400, f"role is not one of {', '.join(ROLES)}")
    if wanted is None:
        return list(have)
    narrowed = [s.replace("keyset:", "dataset:") for s in wanted]
    if not set(narrowed) <= set(have):
        raise Refusal(400, f"the role {role} does not have every scope asked for")
    return narrowed
