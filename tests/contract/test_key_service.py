"""What every key service promises: run on the fake and on the real client against a real authority."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from tests.fakes.keyservice import FakeKeyService
from worker.errors import KeyAccessDenied
from worker.model import (
    Audit,
    DataKey,
    KeyRefused,
    KeyService,
    KeySpec,
    PolicyCondition,
    RetrieveRequest,
    Tag,
    Value,
)
from worker.zerokms.factory import client_from_environment

AUDIT = Audit("test")
SPEC = KeySpec(None, "users/email", (Value("tenant", "a"), Tag("t")))


@pytest.fixture(params=["fake", "client"])
def service(request: pytest.FixtureRequest) -> Iterator[KeyService]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeKeyService()
        return
    env: dict[str, str] = request.getfixturevalue("authority")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    hosts = (urlsplit(env["CS_CTS_HOST"]).netloc, urlsplit(env["CS_ZEROKMS_HOST"]).netloc)
    with client_from_environment(env, allow_hosts=hosts) as client:
        yield client


def request_for(key: DataKey, spec: KeySpec = SPEC) -> RetrieveRequest:
    return RetrieveRequest(key.keyset, key.iv, key.tag, key.descriptor, spec.context, key.policy)


def test_gives_each_request_a_key_of_its_own(service: KeyService) -> None:
    """No key and no iv comes twice, and the order is the requests'."""
    specs = [replace(SPEC, descriptor=f"users/{i % 7}") for i in range(501)]

    keys = service.generate(specs, AUDIT)

    assert [k.descriptor for k in keys] == [s.descriptor for s in specs]
    assert len({k.iv for k in keys}) == len({bytes(k.secret) for k in keys}) == 501


def test_retrieves_what_was_generated(service: KeyService) -> None:
    """Retrieval gives the same bytes for the same public parts, in order."""
    keys = service.generate([SPEC] * 3, AUDIT)

    again = service.retrieve([request_for(k) for k in reversed(keys)], AUDIT)

    assert [bytes(k.secret) for k in again if isinstance(k, DataKey)] == [bytes(k.secret) for k in reversed(keys)]


@pytest.mark.parametrize("part", ["iv", "tag", "descriptor", "context"])
def test_refuses_another_part_and_not_its_neighbours(service: KeyService, part: str) -> None:
    """A changed iv, tag, descriptor or context is refused; the other key of the call comes."""
    key = service.generate([SPEC], AUDIT)[0]
    good = request_for(key)
    bad = {
        "iv": replace(good, iv=bytes(16)),
        "tag": replace(good, tag=bytes(32)),
        "descriptor": replace(good, descriptor="users/phone"),
        "context": replace(good, context=(Value("tenant", "b"), Tag("t"))),
    }[part]

    refused, given = service.retrieve([bad, good], AUDIT)

    assert isinstance(refused, KeyRefused)
    assert isinstance(given, DataKey)


def test_keeps_the_order_of_a_context(service: KeyService) -> None:
    """A context in another order is another context."""
    key = service.generate([SPEC], AUDIT)[0]

    [answer] = service.retrieve([replace(request_for(key), context=SPEC.context[::-1])], AUDIT)

    assert isinstance(answer, KeyRefused)


def test_completes_a_policy_and_honours_it(service: KeyService) -> None:
    """A condition without a value is filled from the token, and opens for that token."""
    spec = KeySpec(None, "users/email", policy=(PolicyCondition("sub"),))
    key = service.generate([spec], AUDIT)[0]

    [answer] = service.retrieve([request_for(key, spec)], AUDIT)

    assert key.policy[0].value
    assert isinstance(answer, DataKey)


def test_refuses_an_unknown_keyset(service: KeyService) -> None:
    """A keyset that this client has not been granted gives no key."""
    with pytest.raises(KeyAccessDenied):
        service.generate([replace(SPEC, keyset="nobody/knows")], AUDIT)


def test_answers_nothing_with_nothing(service: KeyService) -> None:
    """No request, no key."""
    assert service.generate([], AUDIT) == []
    assert service.retrieve([], AUDIT) == []


def test_refuses_a_foreign_keyset_key_by_key(service: KeyService) -> None:
    """On retrieval a keyset without a grant is that key's refusal, not the call's failure."""
    key = service.generate([SPEC], AUDIT)[0]
    foreign = replace(request_for(key), keyset=key.keyset.__class__(int=7))

    refused, given = service.retrieve([foreign, request_for(key)], AUDIT)

    assert isinstance(refused, KeyRefused)
    assert isinstance(given, DataKey)
