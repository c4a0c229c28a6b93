"""The bounds of the key cache."""

from __future__ import annotations

from pydantic import Field

from worker.options import Options


class KeyOptions(Options):
    """`[keys]`: how long and how many keys are held."""

    max_age_s: float = Field(default=300.0, ge=0, le=86_400)
    """No key is used longer than this after it was asked for; 0 asks for every batch."""
    requests_in_flight: int = Field(default=5, ge=1, le=64)
    """Fetches under way at once for encryption."""
    keys_per_request: int | None = Field(default=None, ge=1, le=1000)
    """Keys in a full request; by default as many as the authority says that it takes, 500 where it does not."""
    max_values: int = Field(default=1_000_000, ge=1, le=2**32)
    """Values under one lease."""
    max_bytes: int = Field(default=4 * 2**30, ge=1)
    """Bytes of plaintext under one lease."""
    budget_bytes: int = Field(default=128 * 2**20, ge=2**20)
    """What leases and pools may take together; contexts that are rarely used go first."""
    max_leases: int | None = Field(default=None, ge=1)
    """Leases held at once besides, where their number is to be bounded too."""
    max_pools: int | None = Field(default=None, ge=1)
    """Pools held at once, likewise."""
    max_pool_keys: int = Field(default=20_000, ge=1)
    """Keys that one pool may hold ahead of demand."""
    max_retrieved: int = Field(default=100_000, ge=1)
    """Keys held for decryption."""
    negative_s: float = Field(default=5.0, ge=0, le=300)
    """How long a refused key is refused without asking again."""
    wait_s: float = Field(default=30.0, gt=0)
    """How long a batch waits for keys before the key service counts as away."""
    grace_s: float = Field(default=60.0, ge=0)
    """How long a lease that was asked for outside of a batch may be in use after it was replaced."""
    backoff_s: float = Field(default=5.0, gt=0)
    """After a failed refill, the longest pause before the next one; spread at random."""

    @property
    def fetches(self) -> int:
        """Fetches begun at once: while `requests_in_flight` wait for the wire, others are built or derived."""
        return 2 * self.requests_in_flight + 2
