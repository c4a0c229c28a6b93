"""Decryption keys: asked for once, held for a while, refused alone."""

from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import pytest

from tests.fakes.keyservice import Clock, FakeKeyService
from worker.errors import KeyServiceUnavailable
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest, Value
from worker.zerokms.keys import KeyOptions, RetrievedKeys

SPEC = KeySpec(None, "users/email", (Value("tenant", "a"),))
AUDIT = Audit("test", purpose="decrypt")


def requests_for(service: FakeKeyService, count: int) -> list[RetrieveRequest]:
    made = service.generate([SPEC] * count, AUDIT)
    service.calls.clear()
    return [RetrieveRequest(k.keyset, k.iv, k.tag, k.descriptor, SPEC.context) for k in made]


def make(service: FakeKeyService, clock: Clock, **bounds: float) -> RetrievedKeys:
    return RetrievedKeys(service, options=KeyOptions.model_validate(bounds), audit=AUDIT, clock=clock)


def test_asks_once_for_equal_requests() -> None:
    """A batch's equal requests are one, and a later batch hits."""
    service = FakeKeyService()
    a, b = requests_for(service, 2)
    keys = make(service, Clock())

    first = keys.keys([a, b, a, a])
    second = keys.keys([b, a])

    assert first[0] is first[2] is first[3] is second[1]
    assert service.calls == [("retrieve", 2)]


def test_forgets_a_key_at_its_age() -> None:
    """After `max_age_s` a key is asked for again, and after its grace the old one is wiped."""
    service, clock = FakeKeyService(), Clock()
    [request] = requests_for(service, 1)
    keys = make(service, clock)
    [old] = keys.keys([request])
    assert isinstance(old, DataKey)

    clock.now += 300
    keys.keys([request])
    clock.now += 60
    keys.expire()

    assert len(service.calls) == 2
    assert old.is_wiped


def test_a_revoked_client_is_refused_within_the_bound() -> None:
    """After `max_age_s` a deleted client opens nothing more."""
    service, clock = FakeKeyService(), Clock()
    [request] = requests_for(service, 1)
    keys = make(service, clock)
    keys.keys([request])
    service.deleted = True
    clock.now += 300

    [answer] = keys.keys([request])

    assert isinstance(answer, KeyRefused)


def test_remembers_a_refusal_for_a_moment() -> None:
    """A refused key is not asked for again before `negative_s`; then it is."""
    service, clock = FakeKeyService(), Clock()
    [request] = requests_for(service, 1)
    wrong = replace(request, context=(Value("tenant", "b"),))
    keys = make(service, clock, negative_s=5)

    answers = [keys.keys([wrong])[0] for _ in range(3)]
    clock.now += 5
    keys.keys([wrong])

    assert all(isinstance(answer, KeyRefused) for answer in answers)
    assert len(service.calls) == 2


def test_serves_nothing_across_contexts() -> None:
    """A key held under one context is not given to a request with another."""
    service = FakeKeyService()
    [request] = requests_for(service, 1)
    keys = make(service, Clock())
    keys.keys([request])

    [answer] = keys.keys([replace(request, context=())])

    assert isinstance(answer, KeyRefused)


def test_threads_ask_once() -> None:
    """Threads that miss one key share one request."""
    service, gate = FakeKeyService(), threading.Event()
    [request] = requests_for(service, 1)

    def hold() -> None:
        gate.wait(5)

    service.before = hold
    keys = make(service, Clock())
    got: list[object] = []
    threads = [threading.Thread(target=lambda: got.append(keys.keys([request])[0])) for _ in range(6)]

    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()

    assert len({id(key) for key in got}) == len(service.calls) == 1


def test_an_outage_is_raised_and_not_remembered() -> None:
    """Without an answer the batch is refused, and the next one asks again."""
    service = FakeKeyService()
    [request] = requests_for(service, 1)
    keys = make(service, Clock())
    service.error = KeyServiceUnavailable("away")
    with pytest.raises(KeyServiceUnavailable):
        keys.keys([request])
    service.error = None

    assert isinstance(keys.keys([request])[0], DataKey)


def test_is_bounded() -> None:
    """The least recently used keys go when there are too many."""
    service = FakeKeyService()
    keys = make(service, Clock(), max_retrieved=10)

    answers = keys.keys(requests_for(service, 30))

    assert len(keys) == 10
    assert all(isinstance(a, DataKey) and not a.is_wiped for a in answers)


def test_holds_nothing_at_age_zero() -> None:
    """With `max_age_s` 0 every batch asks."""
    service = FakeKeyService()
    [request] = requests_for(service, 1)
    keys = make(service, Clock(), max_age_s=0)

    keys.keys([request, request])
    keys.keys([request])

    assert service.calls == [("retrieve", 1)] * 2


def test_closing_wipes_every_key() -> None:
    """After `close` no key bytes are left."""
    service = FakeKeyService()
    keys = make(service, Clock())
    answers = keys.keys(requests_for(service, 3))

    keys.close()

    assert all(isinstance(a, DataKey) and a.is_wiped for a in answers)


def test_an_unused_cache_is_collected() -> None:
    """The thread that wipes expired keys does not keep a dropped cache alive."""
    keys = make(FakeKeyService(), Clock())
    gone = weakref.ref(keys)

    del keys
    gc.collect()

    assert gone() is None
