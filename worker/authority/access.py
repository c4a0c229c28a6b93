"""Access keys, and who a caller is."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from worker.authority.refusal import Refusal
from worker.authority.rights import Rights


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who a verified service token speaks for, for one request.

    Args:
        workspace: 16 characters.
        subject: the token's `sub`.
        rights: as the store has them now, whatever was true when the token was issued.
        access_key: the id of the access key behind the token, None for an OIDC user.
        claims: what an identity claim may be read from.
        note: what the audit's line of this request says besides; filled by whoever answers it.
        decided: called once nothing can refuse the request any more and the note is whole: its line is written while
            the answer is computed.
        standing: the caller's rights as the store has them by now; raises a 401 where they have been taken back. None
            for a caller that no token speaks for.
    """

    workspace: str
    subject: str
    rights: Rights
    access_key: str | None
    claims: dict[str, str] = field(repr=False)
    note: dict[str, Any] = field(default_factory=dict, repr=False)
    decided: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)
    standing: Callable[[], Rights] | None = field(default=None, repr=False, compare=False)

    def as_of_now(self) -> Caller:
        """Return the caller with the rights that the store has by now; raises a 401 where it has none any more."""
        return self if self.standing is None else replace(self, rights=self.standing())

    def require(self, *scopes: str) -> None:
        """Raise a 403 where one of `scopes` is missing."""
        for scope in scopes:
            if scope not in self.rights.scopes:
                raise Refusal(403, f"Not permitted: {scope} is missing")

    def require_to_cover(self, rights: Rights) -> None:
        """Raise a 403 where an identity would get more rights than the caller has."""
        if not self.rights.covers(rights):
            raise Refusal(403, "Not permitted: this would give more rights (scopes, client, keysets) than the caller's")

    def require_client(self, client: str) -> None:
        """Raise a 403 where the caller is bound to another client."""
        if self.rights.client not in (None, client):
            raise Refusal(403, "Not permitted: this identity is bound to another client")

    def require_no_client(self) -> None:
        """Raise a 403 where the caller is bound to a client: what it asks for concerns others too."""
        if self.rights.client is not None:
            raise Refusal(403, "Not permitted: this identity is bound to a client")

    def require_keyset(self, keyset: str) -> None:
        """Raise a 403 where the caller is narrowed to other keysets."""
        if self.rights.keysets is not None and keyset not in self.rights.keysets:
            raise Refusal(403, "Not permitted: this identity is narrowed to other keysets")

    def require_deriving(self, client: str) -> None:
        """Raise a 403 unless the caller is bound to exactly this client."""
        if self.rights.client is None:
            raise Refusal(
                403, "Not permitted: this identity is bound to no client and derives no keys (access-key bind)"
            )
        self.require_client(client)


def new_access_key() -> tuple[str, str, bytes]:
    """Return an id, the whole key for its owner, and the hash that the store keeps."""
    key_id = base64.b32encode(os.urandom(10)).decode()
    secret = base64.b32encode(os.urandom(32)).decode().rstrip("=")
    return key_id, f"CSAK{key_id}.{secret}", hash_secret(secret)


def hash_secret(secret: str) -> bytes:
    """Hash a secret of 256 random bits; no slow hash is needed for those."""
    return hashlib.sha256(secret.encode()).digest()
