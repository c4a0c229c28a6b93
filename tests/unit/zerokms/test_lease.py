"""Leases: many values under one key, within bounds of values, bytes and age."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest

from tests.fakes.keyservice import Clock, FakeKeyService
from tests.running import until
from worker.errors import KeyServiceUnavailable
from worker.model import Audit, DataKey, KeyNeed, KeySpec, Value
from worker.native import IS_LOADED, extension
from worker.native.keys import Answer, KeyRun
from worker.zerokms.keys import KeyCache, KeyOptions
from worker.zerokms.keys.cache import _needs

SPEC = KeySpec(None, "users/email")
AUDIT = Audit("test")


def make(service: FakeKeyService, clock: Clock, **bounds: float) -> KeyCache:
    return KeyCache(service, options=KeyOptions.model_validate(bounds), audit=AUDIT, clock=clock)


def test_splits_a_batch_over_leases() -> None:
    """A batch that passes a lease's values goes on under the next, counts adding up."""
    with make(FakeKeyService(), Clock(), max_values=10) as cache:
        portions = [p for _ in range(4) for p in cache.lease(SPEC, [1] * 7)]

    used: dict[bytes, int] = {}
    for portion in portions:
        used[portion.key.iv] = used.get(portion.key.iv, 0) + portion.count
    assert sum(used.values()) == 28
    assert max(used.values()) <= 10


def test_bounds_a_lease_in_bytes() -> None:
    """No key seals more than `max_bytes`, but for one value that is longer by itself."""
    sizes = [40, 40, 40, 500, 40]
    with make(FakeKeyService(), Clock(), max_bytes=100) as cache:
        portions = cache.lease(SPEC, sizes)

    assert [p.count for p in portions] == [2, 1, 1, 1]


def test_serves_one_key_while_it_lasts() -> None:
    """Within its bounds every batch has the same key, at one request."""
    service = FakeKeyService()
    with make(service, Clock()) as cache:
        keys = {p.key.iv for _ in range(100) for p in cache.lease(SPEC, [10] * 50)}

    assert len(keys) == len(service.calls) == 1


def test_fetches_the_next_lease_before_the_end() -> None:
    """Past 80 % of its age a lease is still used while the next is fetched, and the next follows without a wait."""
    service, clock = FakeKeyService(), Clock()
    with make(service, clock) as cache:
        first = cache.lease(SPEC, [1])[0].key
        clock.now += 290
        still = cache.lease(SPEC, [1])[0].key
        cache._gatherer._threads.shutdown(wait=True)
        clock.now += 20
        after = cache.lease(SPEC, [1])[0].key

    assert still is first
    assert after is not first
    assert len(service.calls) == 2


def test_no_lease_is_used_past_its_age_in_an_outage() -> None:
    """In an outage a lease serves to `max_age_s`, then batches are refused until the service is back."""
    service, clock = FakeKeyService(), Clock()
    with make(service, clock) as cache:
        cache.lease(SPEC, [1])
        service.error = KeyServiceUnavailable("away")
        clock.now += 299
        cache.lease(SPEC, [1])
        clock.now += 1
        with pytest.raises(KeyServiceUnavailable):
            cache.lease(SPEC, [1])
        service.error = None

        assert cache.lease(SPEC, [1])[0].count == 1


def test_asks_once_for_many_threads() -> None:
    """Threads that miss the same lease wait for one request."""
    service, gate = FakeKeyService(), threading.Event()

    def hold() -> None:
        gate.wait(5)

    service.before = hold
    keys: list[DataKey] = []
    with make(service, Clock()) as cache:
        threads = [threading.Thread(target=lambda: keys.append(cache.lease(SPEC, [1])[0].key)) for _ in range(8)]
        for thread in threads:
            thread.start()
        gate.set()
        for thread in threads:
            thread.join()

    assert len({key.iv for key in keys}) == len(service.calls) == 1


def test_a_replaced_lease_is_wiped_after_its_grace() -> None:
    """A batch may still hold a lease that was replaced; once the grace is over, its bytes are gone."""
    service, clock = FakeKeyService(), Clock()
    with make(service, clock, grace_s=60) as cache:
        old = cache.lease(SPEC, [1])[0].key
        clock.now += 300
        cache.lease(SPEC, [1])
        in_grace = old.is_wiped
        clock.now += 60
        cache.lease(SPEC, [1])

    assert not in_grace
    assert old.is_wiped


class Cheap(FakeKeyService):
    """Gives keys without the arithmetic, for counting memory."""

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        keyset = self.keysets["default"]
        return [
            DataKey(memoryview(bytearray(32)), iv=bytes(16), tag=b"", keyset=keyset, descriptor=spec.descriptor)
            for spec in requests
        ]


def tenants(start: int, stop: int) -> KeyNeed:
    """One value of one byte for each tenant."""
    ones = np.ones(stop - start, np.int64)
    return KeyNeed("leased", SPEC, ("tenant",), [(str(i),) for i in range(start, stop)], ones, ones, lambda _: [1])


def test_many_contexts_stay_within_bounds() -> None:
    """A hundred thousand tenants use the memory of `max_leases`, not of a hundred thousand."""
    with make(Cheap(), Clock(), max_leases=1_000, grace_s=0) as cache:

        def visit(start: int, stop: int) -> None:
            for base in range(start, stop, 1_000):
                with cache.hold([tenants(base, base + 1_000)]) as hold:
                    assert sum(len(grant.keys) for grant in hold) == 1_000

        visit(0, 10_000)
        tracemalloc.start()
        visit(10_000, 20_000)
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        visit(20_000, 90_000)
        tracemalloc.start()
        visit(90_000, 100_000)
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()

        assert len(cache._leases) == 1_000
        assert after - before < 1_000_000


def test_after_rotate_no_batch_meets_an_old_key() -> None:
    """`rotate now`: the next batch has other ivs in both formats, and what was held in pools is gone."""
    with make(FakeKeyService(), Clock()) as cache:
        leased = cache.lease(SPEC, [1])[0].key.iv
        for _ in range(5):
            cache.take(SPEC, 10)
        until(lambda: any(batch.keys for batch in cache._pools[SPEC]._batches), "keys were fetched ahead")
        held = [key for batch in cache._pools[SPEC]._batches for key in batch.keys]
        ivs = {key.iv for key in held}

        cache.rotate()
        after = {key.iv for key in cache.take(SPEC, 50)} | {cache.lease(SPEC, [1])[0].key.iv}

    assert held
    assert all(key.is_wiped for key in held)
    assert not after & (ivs | {leased})


class NativeService(FakeKeyService):
    """The fake whose keys lie in native memory, as an authority's do."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Answer] = []

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> KeyRun:  # type: ignore[override]
        keys = super().generate(requests, audit)
        batch = extension.KeyBatch(keys, [b""] * len(keys))
        label = (requests[0].descriptor, ())
        self.answers.append(Answer(batch, keys[0].keyset, uuid4(), lambda _: label))
        return KeyRun([(self.answers[-1], 0, len(keys))])


@pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")
@pytest.mark.parametrize("handed", [True, False])
def test_what_lies_in_native_memory_is_wiped_there(handed: bool) -> None:
    """Whoever got a lease as an object loses it with what he copied out; one that nobody got is wiped as well."""
    service = NativeService()
    with make(service, Clock(), grace_s=0) as cache:
        needs = _needs("leased", {KeySpec(None, "a", (Value("t", str(n)),)): 1 for n in range(40)}, [1])
        with cache.hold([replace(need, is_native=not handed) for need in needs]) as hold:
            keys = [key for grant in hold for key in grant.keys]
        with cache.hold([replace(need, is_native=not handed) for need in needs]) as hold:
            again = [key for grant in hold for key in grant.keys]
        secrets = [key.secret for key in keys]
        cache.rotate()

    assert len(keys) == (40 if handed else 0)
    assert all(one is other for one, other in zip(keys, again, strict=True))
    assert all(key.is_wiped for key in keys)
    assert all(bytes(secret) == bytes(32) for secret in secrets)
    [answer] = service.answers
    for at in range(40):
        with pytest.raises(RuntimeError, match="wiped"):
            answer.batch.secret(at)
