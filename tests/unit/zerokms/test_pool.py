"""Single-use keys: never twice, never too old, fetched ahead, wiped."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator

import pytest

from tests.fakes.keyservice import Clock, FakeKeyService
from worker.errors import KeyAccessDenied, KeyServiceUnavailable
from worker.metrics import Metrics
from worker.model import Audit, KeySpec, Value
from worker.zerokms.keys import KeyCache, KeyOptions

SPEC = KeySpec(None, "users/email")
AUDIT = Audit("test")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service() -> FakeKeyService:
    return FakeKeyService()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("eu-central-1")


@pytest.fixture
def cache(service: FakeKeyService, clock: Clock, metrics: Metrics) -> Iterator[KeyCache]:
    with KeyCache(service, options=KeyOptions(wait_s=5), audit=AUDIT, metrics=metrics, clock=clock) as made:
        yield made


def counted(metrics: Metrics, event: str) -> float:
    return metrics.registry.get_sample_value("worker_keys_total", {"region": "eu-central-1", "event": event}) or 0.0


def settle(cache: KeyCache) -> None:
    """Wait until no fetch is under way."""
    cache._gatherer._threads.shutdown(wait=True)


def test_asks_for_no_key_too_many_the_first_time(cache: KeyCache, service: FakeKeyService) -> None:
    """A context that is seen once costs exactly its keys."""
    cache.take(SPEC, 3)

    settle(cache)
    assert service.calls == [("generate", 3)]


def test_hands_no_key_out_twice(cache: KeyCache) -> None:
    """Eight threads hammering one cache never see an iv twice."""
    seen: list[bytes] = []
    start = threading.Barrier(8)

    def hammer() -> None:
        start.wait()
        for size in (1, 7, 100, 3, 40) * 4:
            ivs = [key.iv for key in cache.take(SPEC, size)]
            seen.extend(ivs)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(seen) == len(set(seen)) == 8 * 4 * 151


def test_asks_in_full_requests_in_a_steady_stream(cache: KeyCache, service: FakeKeyService) -> None:
    """A steady stream costs at most one request for 490 keys."""
    for _ in range(600):
        cache.take(SPEC, 500)

    settle(cache)
    asked = sum(count for _, count in service.calls)
    assert len(service.calls) / asked <= 1 / 490


def test_an_idle_pool_asks_for_nothing(cache: KeyCache, service: FakeKeyService, clock: Clock) -> None:
    """Without a taker no key is fetched, however old those held become."""
    for _ in range(5):
        cache.take(SPEC, 10)
    settle(cache)
    calls = len(service.calls)

    clock.now += 10_000
    cache.expire()

    assert len(service.calls) == calls


def test_wipes_keys_past_their_age(cache: KeyCache, clock: Clock, metrics: Metrics) -> None:
    """A key older than `max_age_s` is wiped and never handed out."""
    first = [key for _ in range(3) for key in cache.take(SPEC, 10)]
    held = [key for batch in cache._pools[SPEC]._batches for key in batch.keys]
    clock.now += 300

    fresh = cache.take(SPEC, 10)

    assert all(key.is_wiped for key in held)
    assert {k.iv for k in fresh}.isdisjoint(k.iv for k in (*first, *held))
    assert counted(metrics, "expired") >= len(held)


def test_serves_nothing_across_specs(cache: KeyCache) -> None:
    """Equal descriptors under two contexts have two pools."""
    a, b = (KeySpec(None, "d", (Value("tenant", t),)) for t in "ab")
    cache.take(a, 1)
    cache.take(b, 1)

    assert set(cache._pools) == {a, b}


def test_asks_for_every_batch_at_age_zero(service: FakeKeyService) -> None:
    """With `max_age_s` 0 nothing is held."""
    with KeyCache(service, options=KeyOptions(max_age_s=0), audit=AUDIT) as cache:
        for _ in range(3):
            cache.take(SPEC, 4)
            cache.lease(SPEC, [1, 1])

    assert service.calls == [("generate", 4), ("generate", 1)] * 3


def test_goes_on_to_the_end_of_the_pool_in_an_outage(cache: KeyCache, service: FakeKeyService) -> None:
    """In an outage the pool is used up, then batches are refused, and work resumes when the service is back."""
    for _ in range(6):
        cache.take(SPEC, 50)
    pool = cache._pools[SPEC]
    with pool._changed:
        pool._changed.wait_for(lambda: pool._pending == 0, 5)
    service.error = KeyServiceUnavailable("away")
    held = pool.available

    for _ in range(held):
        cache.take(SPEC, 1)
    with pytest.raises(KeyServiceUnavailable):
        cache.take(SPEC, 1)
    service.error = None

    assert held > 0
    assert len(cache.take(SPEC, 5)) == 5


def test_spreads_refills_after_an_outage(cache: KeyCache, service: FakeKeyService) -> None:
    """A failed fetch ahead of demand is not repeated before a pause that differs from pool to pool."""
    service.error = KeyServiceUnavailable("away")
    pauses = set()
    for i in range(8):
        spec = KeySpec(None, f"d{i}")
        with pytest.raises(KeyServiceUnavailable):
            cache.take(spec, 1)
        pauses.add(cache._pools[spec]._not_before)

    assert len(pauses) == 8


def test_drops_the_pool_at_a_refusal(cache: KeyCache, service: FakeKeyService) -> None:
    """When a refill is refused, the keys still held are wiped and the batch that follows is refused."""
    for _ in range(4):
        cache.take(SPEC, 10)
    service.deleted = True

    def drain() -> None:
        for _ in range(100):
            cache.take(SPEC, 10)

    with pytest.raises(KeyAccessDenied):
        drain()

    assert cache._pools[SPEC].available == 0


@pytest.mark.parametrize("cause", ["deleted", "disabled", "revoked"])
def test_keeps_the_revocation_bound(service: FakeKeyService, clock: Clock, cause: str) -> None:
    """After `max_age_s` no key fetched before the revocation is used, in either format."""
    with KeyCache(service, audit=AUDIT, clock=clock) as cache:
        for _ in range(3):
            cache.take(SPEC, 10)
            cache.lease(SPEC, [1])
        service.deleted = cause == "deleted"
        service.disabled = set(service.keysets.values()) if cause == "disabled" else set()
        service.granted = set() if cause == "revoked" else service.granted

        clock.now += cache.options.max_age_s

        with pytest.raises(KeyAccessDenied):
            cache.take(SPEC, 1)
        with pytest.raises(KeyAccessDenied):
            cache.lease(SPEC, [1])


def test_rotation_drops_what_is_held(cache: KeyCache, metrics: Metrics) -> None:
    """After `rotate` no key held before it is handed out."""
    for _ in range(4):
        cache.take(SPEC, 10)
    held = [key for batch in cache._pools[SPEC]._batches for key in batch.keys]
    lease = cache.lease(SPEC, [1])[0].key

    cache.rotate()

    assert all(key.is_wiped for key in held)
    assert cache.lease(SPEC, [1])[0].key is not lease
    assert counted(metrics, "wasted") >= len(held)


def test_closing_wipes_every_key(cache: KeyCache) -> None:
    """After `close` no key bytes are left, leases included."""
    for _ in range(4):
        cache.take(SPEC, 10)
    held = [key for batch in cache._pools[SPEC]._batches for key in batch.keys]
    lease = cache.lease(SPEC, [1])[0].key

    cache.close()

    assert lease.is_wiped
    assert all(key.is_wiped for key in held)


def test_no_key_survives_a_fork(cache: KeyCache) -> None:
    """A child process starts with empty pools and leases; the parent keeps its own."""
    for _ in range(4):
        cache.take(SPEC, 10)
    lease = cache.lease(SPEC, [1])[0].key

    cache.after_fork()

    assert lease.is_wiped
    assert len(cache._leases) == len(cache._pools) == 0
    assert len(cache.take(SPEC, 2)) == 2


def test_children_are_told_of_a_fork(cache: KeyCache) -> None:
    """The fork hook reaches every live cache."""
    cache.lease(SPEC, [1])
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.write(write, str(len(cache._leases)).encode())
        os._exit(0)
    os.waitpid(child, 0)

    assert os.read(read, 10) == b"0"
    assert len(cache._leases) == 1


def test_bounds_the_pools(service: FakeKeyService, clock: Clock) -> None:
    """The least recently used pool goes when there are too many."""
    with KeyCache(service, options=KeyOptions(max_pools=10), audit=AUDIT, clock=clock) as cache:
        for i in range(50):
            cache.take(KeySpec(None, f"d{i}"), 1)

        assert len(cache._pools) == 10
