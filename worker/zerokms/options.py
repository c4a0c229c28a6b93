"""How the key service is spoken to."""

from __future__ import annotations

from pydantic import Field, field_validator

from worker.http_client import proxy_address
from worker.options import Options

FULL = 500
"""Keys in a full request of an authority that does not say what it takes."""


class WireOptions(Options):
    """How the key service is spoken to."""

    timeout_s: float = Field(default=10.0, gt=0)
    """Bound of one request."""
    connect_timeout_s: float = Field(default=5.0, gt=0)
    """Bound of connecting."""
    verify_token: bool = True
    """Verify the service token's signature against the authority's keys."""
    proxy: str | None = None
    """URL of a proxy to go through; the environment's are not looked at."""

    @field_validator("proxy")
    @classmethod
    def _is_proxy(cls, url: str | None) -> str | None:
        return None if url is None else proxy_address(url)


class ClientOptions(WireOptions):
    """How the key service is spoken to, and how much is asked at once; a worker takes the latter from `[keys]`."""

    keys_per_request: int | None = Field(default=None, ge=1, le=1000)
    """Keys in a full request; None is what the authority says that it takes, 500 where it does not."""
    requests_in_flight: int = Field(default=5, ge=1, le=64)
    """Requests under way at once."""
