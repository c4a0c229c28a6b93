"""The revocation bound against a real authority, by a controlled clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.fakes.keyservice import Clock
from worker.authority.dev import DevAuthority
from worker.errors import KeyAccessDenied
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.factory import client_from_environment
from worker.zerokms.keys import KeyCache, RetrievedKeys

SPEC = KeySpec(None, "users/email")
AUDIT = Audit("test")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority of this test's own, for it revokes."""
    with DevAuthority("eu-central-1", tmp_path) as running:
        yield running


@pytest.fixture
def client(own: DevAuthority) -> Iterator[ZeroKMSClient]:
    with client_from_environment(own.env, allow_hosts=(urlsplit(own.url).netloc,)) as made:
        yield made


@pytest.mark.parametrize("cause", ["deleted", "disabled"])
def test_a_revoked_worker_stops_within_its_bound(own: DevAuthority, client: ZeroKMSClient, cause: str) -> None:
    """What was fetched before serves to `max_age_s` at the longest; then encryption and decryption are refused."""
    clock = Clock()
    held = RetrievedKeys(client, audit=AUDIT, clock=clock)
    with KeyCache(client, audit=AUDIT, clock=clock) as cache:
        [key] = cache.take(SPEC, 1)
        request = RetrieveRequest(key.keyset, key.iv, key.tag, key.descriptor)
        held.keys([request])
        cache.lease(SPEC, [1])
        if cause == "deleted":
            own.delete_client(own.env["CS_CLIENT_ID"])
        else:
            own.disable_keyset("default")

        clock.now += cache.options.max_age_s - 1
        within = held.keys([request])
        clock.now += 1
        after = held.keys([request])

        assert isinstance(within[0], DataKey)
        assert isinstance(after[0], KeyRefused)
        with pytest.raises(KeyAccessDenied):
            cache.lease(SPEC, [1])
        with pytest.raises(KeyAccessDenied):
            cache.take(SPEC, 1)
