"""Retries and the breaker."""

from __future__ import annotations

import pytest

from tests.fakes.keyservice import Clock, FakeKeyService
from worker.errors import KeyAccessDenied, KeyServiceThrottled, KeyServiceUnavailable
from worker.metrics import Metrics
from worker.model import Audit, KeySpec
from worker.zerokms.resilient import BreakerState, ResilienceOptions, ResilientKeyService

SPEC = [KeySpec(None, "d")]
AUDIT = Audit("test")
QUICK = ResilienceOptions(attempts=3, wait_s=0, wait_max_s=0, jitter_s=0, failures=4, open_s=5)


def test_asks_again_after_an_outage() -> None:
    """A call whose answer was lost is asked again, within its attempts."""
    service = FakeKeyService()
    service.error = KeyServiceUnavailable("away")

    def recover() -> None:
        if len(service.calls) == 3:
            service.error = None

    service.before = recover

    assert len(ResilientKeyService(service, options=QUICK).generate(SPEC, AUDIT)) == 1
    assert len(service.calls) == 3


def test_a_refusal_is_not_asked_again() -> None:
    """A refusal is an answer: one call, and the breaker stays closed."""
    service = FakeKeyService()
    service.deleted = True
    resilient = ResilientKeyService(service, options=QUICK)

    for _ in range(6):
        with pytest.raises(KeyAccessDenied):
            resilient.generate(SPEC, AUDIT)

    assert len(service.calls) == 6
    assert resilient.breaker.state is BreakerState.CLOSED


def test_the_breaker_opens_tries_and_closes() -> None:
    """Open, it asks nothing; after `open_s` one call tries, and its success closes it."""
    service, clock, metrics = FakeKeyService(), Clock(), Metrics("eu-central-1")
    service.error = KeyServiceUnavailable("away")
    resilient = ResilientKeyService(service, options=QUICK, clock=clock, metrics=metrics)
    for _ in range(2):
        with pytest.raises(KeyServiceUnavailable):
            resilient.generate(SPEC, AUDIT)
    calls = len(service.calls)

    with pytest.raises(KeyServiceUnavailable) as refused:
        resilient.generate(SPEC, AUDIT)
    shown = metrics.registry.get_sample_value("worker_breaker_state", {"region": "eu-central-1"})
    service.error = None
    clock.now += 5
    resilient.generate(SPEC, AUDIT)

    assert calls == 4
    assert len(service.calls) == 5
    assert refused.value.retry_after_s == pytest.approx(5)
    assert shown == 2
    assert resilient.breaker.state.value == 0


def test_a_failed_trial_opens_again() -> None:
    """One failure of the trial opens the breaker for another `open_s`."""
    service, clock = FakeKeyService(), Clock()
    service.error = KeyServiceUnavailable("away")
    resilient = ResilientKeyService(service, options=QUICK, clock=clock)
    for _ in range(2):
        with pytest.raises(KeyServiceUnavailable):
            resilient.generate(SPEC, AUDIT)
    clock.now += 5

    for _ in range(3):
        with pytest.raises(KeyServiceUnavailable):
            resilient.generate(SPEC, AUDIT)

    assert len(service.calls) == 5


def test_leaves_a_long_wish_to_the_runner() -> None:
    """A service that asks for a long pause is not asked again within the call."""
    service = FakeKeyService()
    service.error = KeyServiceUnavailable("throttled", retry_after_s=60)

    with pytest.raises(KeyServiceUnavailable):
        ResilientKeyService(service, options=QUICK).generate(SPEC, AUDIT)

    assert len(service.calls) == 1


@pytest.mark.parametrize("before", [0, 3])
def test_a_quota_that_is_used_up_is_no_outage(before: int) -> None:
    """However often a 429 comes, the breaker stays closed for everybody; it says that the service is there."""
    service = FakeKeyService()
    once = ResilientKeyService(service, options=QUICK.model_copy(update={"attempts": 1}))
    for error in [*[KeyServiceUnavailable("away")] * before, *[KeyServiceThrottled("quota", retry_after_s=60)] * 9]:
        service.error = error
        with pytest.raises(type(error)):
            once.generate(SPEC, AUDIT)

    service.error = KeyServiceUnavailable("away")
    with pytest.raises(KeyServiceUnavailable):
        once.generate(SPEC, AUDIT)
    service.error = None

    assert once.breaker.state is BreakerState.CLOSED
    assert len(once.generate(SPEC, AUDIT)) == 1


def test_a_short_wish_is_waited_for() -> None:
    """What will be there in a moment is had within the call, and is counted as throttled."""
    service, metrics = FakeKeyService(), Metrics("eu-central-1")
    service.error = KeyServiceThrottled("quota", retry_after_s=0.01)
    options = QUICK.model_copy(update={"wait_max_s": 1})

    def recover() -> None:
        if len(service.calls) == 2:
            service.error = None

    service.before = recover

    assert len(ResilientKeyService(service, options=options, metrics=metrics).generate(SPEC, AUDIT)) == 1
    labels = {"region": "eu-central-1", "reason": "throttled"}
    assert metrics.registry.get_sample_value("worker_authority_retries_total", labels) == 1
