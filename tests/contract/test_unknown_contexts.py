"""A producer that invents contexts, against a real authority that grants a client so many keys a minute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fakes.keyservice import Clock
from worker.authority.dev import DevAuthority
from worker.errors import KeyServiceUnavailable
from worker.metrics import Metrics
from worker.model import Audit, DataKey, Format, KeySpec, Value
from worker.zerokms.factory import client_from_environment
from worker.zerokms.keys import KeyCache, KeyOptions
from worker.zerokms.keys.cache import _needs

AUDIT = Audit("test")
REGION = "eu-central-1"
QUOTA = 1_500
BATCH = 100
"""Keys in a full request."""
KNOWN = [KeySpec(None, "users/email", (Value("tenant", f"customer-{i}"),)) for i in range(50)]
INVENTED = [KeySpec(None, "users/email", (Value("tenant", f"nobody-{i}"),)) for i in range(3 * QUOTA)]


class Tenants:
    """A cache over the real client, whose requests are counted."""

    def __init__(self, cache: KeyCache, metrics: Metrics) -> None:
        self.cache, self._metrics = cache, metrics

    def batch(self, kind: Format, specs: list[KeySpec]) -> list[DataKey]:
        """Get one key for each context in one batch."""
        with self.cache.hold(_needs(kind, dict.fromkeys(specs, 1), [10])) as hold:
            return [key for grant in hold for key in grant.keys]

    def made(self) -> float:
        """How many keys the authority has made."""
        found = self._metrics.registry.get_sample_value("worker_keys_total", {"region": REGION, "event": "generated"})
        return found or 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tenants(tmp_path: Path, clock: Clock) -> Iterator[Tenants]:
    """A client of 1,500 keys a minute, and room for some 1,200 contexts."""
    metrics = Metrics(REGION)
    options = KeyOptions(keys_per_request=BATCH, budget_bytes=2**20)
    with DevAuthority(REGION, tmp_path) as own:
        own.admin("api/clients/limits", {"client_id": own.env["CS_CLIENT_ID"], "generate_per_minute": QUOTA})
        with (
            client_from_environment(own.env, allow_hosts=(urlsplit(own.url).netloc,), metrics=metrics) as client,
            KeyCache(client, options=options, audit=AUDIT, clock=clock) as cache,
        ):
            yield Tenants(cache, metrics)


@pytest.mark.parametrize("place", ["before", "after"])
def test_invented_contexts_leave_the_known_ones_their_keys(tenants: Tenants, clock: Clock, place: str) -> None:
    """Where both lack keys, the known ones are asked for first: they go on although the quota is used up."""
    for _ in range(2):
        tenants.batch("leased", KNOWN)
    clock.now += tenants.cache.options.max_age_s

    with pytest.raises(KeyServiceUnavailable, match="429"):
        tenants.batch("leased", [*INVENTED, *KNOWN] if place == "before" else [*KNOWN, *INVENTED])
    renewed = tenants.batch("leased", KNOWN)

    assert len(renewed) == len(KNOWN)
    with pytest.raises(KeyServiceUnavailable, match="429"):
        tenants.batch("leased", INVENTED)
    assert tenants.batch("leased", KNOWN) == renewed


def test_invented_contexts_do_not_take_the_cache(tenants: Tenants) -> None:
    """Contexts that never return pass through; those that are used keep their leases, and cost the quota nothing."""
    for _ in range(3):
        held = tenants.batch("leased", KNOWN)
    for start in range(0, QUOTA - 2 * BATCH, BATCH):
        tenants.batch("leased", INVENTED[start : start + BATCH])
        tenants.batch("leased", KNOWN)
    made = tenants.made()

    assert tenants.batch("leased", KNOWN) == held
    assert tenants.made() == made == len(KNOWN) + QUOTA - 2 * BATCH
