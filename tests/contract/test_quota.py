"""A quota that is used up, on the fake and on the real client against a real authority: a wish, and no outage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.contract.test_key_service import SPEC, request_for
from tests.fakes.keyservice import FakeKeyService
from worker.authority.dev import DevAuthority
from worker.errors import KeyServiceThrottled
from worker.model import Audit, DataKey, KeyService
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.factory import client_from_environment
from worker.zerokms.resilient import BreakerState, ResilienceOptions, ResilientKeyService

AUDIT = Audit("test")
QUOTA = 20


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority that grants its first client few keys a minute."""
    with DevAuthority("eu-central-1", tmp_path) as own:
        own.admin("api/clients/limits", {"client_id": own.env["CS_CLIENT_ID"], "generate_per_minute": QUOTA})
        yield own


def client_of(own: DevAuthority) -> ZeroKMSClient:
    return client_from_environment(own.env, allow_hosts=(urlsplit(own.url).netloc,))


@pytest.fixture(params=["fake", "client"])
def service(request: pytest.FixtureRequest) -> Iterator[KeyService]:
    """Each implementation in turn, with the same quota."""
    if request.param == "fake":
        fake = FakeKeyService()
        fake.quota = QUOTA
        yield fake
        return
    with client_of(request.getfixturevalue("limited")) as client:
        yield client


def test_a_used_up_quota_is_told_with_a_time_and_opens_no_breaker(service: KeyService) -> None:
    """Whoever asks too much is told when to ask again; whoever asks for else is answered, and the breaker is closed."""
    resilient = ResilientKeyService(service, options=ResilienceOptions(attempts=1, failures=3))
    kept = resilient.generate([SPEC], AUDIT)[0]
    resilient.generate([SPEC] * (QUOTA - 2), AUDIT)

    for _ in range(7):
        with pytest.raises(KeyServiceThrottled) as refused:
            resilient.generate([SPEC] * 10, AUDIT)
        assert 0 < (refused.value.retry_after_s or 0) <= 60

    again = resilient.retrieve([request_for(kept)], AUDIT)[0]
    assert isinstance(again, DataKey)
    assert bytes(again.secret) == bytes(kept.secret)
    assert resilient.breaker.state is BreakerState.CLOSED


def test_a_request_is_no_longer_than_a_minute_s_quota(limited: DevAuthority) -> None:
    """The token says so; a longer one could never be answered, which the refusal says."""
    with client_of(limited) as client:
        client.generate([SPEC], AUDIT)
        assert client.keys_per_request == QUOTA

    with closing(client_of(limited)) as client:
        client.options = client.options.model_copy(update={"keys_per_request": QUOTA + 1})
        with pytest.raises(KeyServiceThrottled, match="ask for fewer at once"):
            client.generate([SPEC] * (QUOTA + 1), AUDIT)


@pytest.mark.parametrize("quota", [1, 2])
def test_the_smallest_quota_leaves_room_for_a_canary(limited: DevAuthority, quota: int) -> None:
    """A request of one key would have none, and the worker would not start."""
    limited.admin("api/clients/limits", {"client_id": limited.env["CS_CLIENT_ID"], "generate_per_minute": quota})

    with client_of(limited) as client:
        client.load_keyset()

        assert client.keys_per_request == 2
