"""Rights: what an identity may do is its scopes, at most one client, and keysets; roles are named sets of scopes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from worker.authority.refusal import Refusal

CANARY_DESCRIPTOR = "zk-canary"
"""Keys of this descriptor are the worker's canary's; it is bound into the tag, and enrolments use no other."""

CANARY_SCOPE = "data_key:retrieve_canary"
_KEYSET = tuple(f"dataset:{w}" for w in ("create", "list", "disable", "enable", "grant", "modify", "revoke"))
_CLIENT = ("client:create", "client:list", "client:delete", "client:approve", "client:update")
_DATA = ("data_key:generate", "data_key:retrieve", CANARY_SCOPE)
_ACCESS = tuple(f"access_key:{w}" for w in ("create", "list", "delete", "update"))
_PEOPLE = tuple(f"{kind}:{w}" for kind in ("provider", "membership") for w in ("create", "list", "delete"))
_SUBJECT = ("provider:update", "subject:block", "subject:list")
_WATCH = ("audit:read", "status:read", "metrics:read")
_KEEP = ("backup:create",)
_ERASE = ("subject:erase", "subject:read_erased", "epoch:end", "backup:list", "backup:expire")

ROLES: dict[str, frozenset[str]] = {
    "admin": frozenset((*_KEYSET, *_CLIENT, *_DATA, *_ACCESS, *_PEOPLE, *_SUBJECT, *_WATCH, *_KEEP, *_ERASE)),
    "control": frozenset((*_KEYSET, "client:list")),
    "member": frozenset(("dataset:list", "client:create", *_DATA)),
    "writer": frozenset(("data_key:generate", CANARY_SCOPE)),
    "auditor": frozenset(("audit:read", "status:read")),
    "monitor": frozenset(("metrics:read",)),
}
"""With "nobody", the empty set, below all of them: any two have a least role above and a greatest below."""
SCOPES = ROLES["admin"]


@dataclass(frozen=True, slots=True)
class Rights:
    """
    What an identity may do.

    Args:
        scopes: which acts.
        client: the one client that it derives keys for and administers; None derives for none and administers all.
        keysets: the uuids that it reaches; None reaches all.
    """

    scopes: frozenset[str]
    client: str | None = None
    keysets: frozenset[str] | None = None

    @classmethod
    def of(
        cls, role: str, scopes: Iterable[str] | None, client: str | None, keysets: Iterable[str] | None = None
    ) -> Self:
        """Return the rights of a role, narrowed to scopes where there are any."""
        held = whole(role) if scopes is None else _closed(tuple(sorted(scopes)))
        return cls(held, client, None if keysets is None else frozenset(keysets))

    def covers(self, other: Rights) -> bool:
        """Whether nothing is in `other` that is not in these; the order that no identity may step up."""
        return (
            other.scopes <= self.scopes
            and (self.client is None or other.client == self.client)
            and (self.keysets is None or (other.keysets is not None and other.keysets <= self.keysets))
        )


def whole(role: str) -> frozenset[str]:
    """Return a role's scopes; raises a 400 for an unknown one."""
    found = ROLES.get(role)
    if found is None:
        raise Refusal(400, f"role is not one of {', '.join(ROLES)}")
    return found


def narrowed(role: str, wanted: Iterable[str] | None) -> list[str] | None:
    """Return a role's scopes narrowed to `wanted`; None is all of them. Raises a 400 for one the role lacks."""
    have = whole(role)
    if wanted is None:
        return None
    named = [s.replace("keyset:", "dataset:") for s in wanted]
    if not _closed(tuple(named)) <= have:
        raise Refusal(400, f"the role {role} does not have every scope asked for")
    return named


@lru_cache(4096)
def _closed(scopes: tuple[str, ...]) -> frozenset[str]:
    # Whoever may retrieve any key may retrieve the canary's.
    return frozenset((*scopes, CANARY_SCOPE)) if "data_key:retrieve" in scopes else frozenset(scopes)
