"""The bounds of the key cache."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class KeyOptions(BaseModel):
    """
    `[keys]`: how long and how many keys are held.

    Args:
        max_age_s: no key is used longer than this after it was asked for; 0 asks for every batch.
        requests_in_flight: fetches under way at once for encryption.
        keys_per_request: keys in a full request.
        max_values: values under one lease.
        max_bytes: bytes of plaintext under one lease.
        budget_bytes: what leases and pools may take together; contexts that are rarely used go first.
        max_leases: leases held at once besides, where their number is to be bounded too.
        max_pools: pools held at once, likewise.
        max_pool_keys: keys that one pool may hold ahead of demand.
        max_retrieved: keys held for decryption.
        negative_s: how long a refused key is refused without asking again.
        wait_s: how long a batch waits for keys before the key service counts as away.
        grace_s: how long a lease that was asked for outside of a batch may be in use after it was replaced.
        backoff_s: after a failed refill, the longest pause before the next one; spread at random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_age_s: float = Field(default=300.0, ge=0, le=86_400)
    requests_in_flight: int = Field(default=5, ge=1, le=64)
    keys_per_request: int = Field(default=500, ge=1, le=500)
    max_values: int = Field(default=1_000_000, ge=1, le=2**32)
    max_bytes: int = Field(default=4 * 2**30, ge=1)
    budget_bytes: int = Field(default=128 * 2**20, ge=2**20)
    max_leases: int | None = Field(default=None, ge=1)
    max_pools: int | None = Field(default=None, ge=1)
    max_pool_keys: int = Field(default=20_000, ge=1)
    max_retrieved: int = Field(default=100_000, ge=1)
    negative_s: float = Field(default=5.0, ge=0, le=300)
    wait_s: float = Field(default=30.0, gt=0)
    grace_s: float = Field(default=60.0, ge=0)
    backoff_s: float = Field(default=5.0, gt=0)

    @property
    def fetches(self) -> int:
        """Fetches begun at once: while `requests_in_flight` wait for the wire, others are built or derived."""
        return self.requests_in_flight + 2
