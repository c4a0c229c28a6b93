"""What a service token says."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """
    One service token and the claims we use.

    `expires_at` is on the local monotonic clock, so a clock that differs from the authority's does no harm.
    `scopes` are None where the token does not say; `needs_reason` where it says that no key is given without one;
    `keys_per_request` is how many its authority takes at once, None where it does not say.
    """

    text: str = field(repr=False)
    workspace: str
    issuer: str
    subject: str
    zerokms: str | None
    expires_at: float
    expiry: float
    scopes: frozenset[str] | None = None
    needs_reason: bool = False
    keys_per_request: int | None = None

    def may(self, scope: str) -> bool:
        """Whether the token grants a scope, as far as it says."""
        return self.scopes is None or scope in self.scopes
