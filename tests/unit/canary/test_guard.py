"""A key service is believed with each answer, by a witness that came in it and the canary beside it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from uuid import uuid4

import pytest

from tests.fakes.canaries import CanaryMemory
from tests.fakes.keyservice import DEFAULT, FakeKeyService
from worker.canary.canary import DESCRIPTOR
from worker.canary.guard import GuardedKeyService
from worker.canary.keyset import Canaries
from worker.errors import CanaryError, ConfigError, KeyServiceUnavailable
from worker.metrics import Metrics
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest
from worker.zerokms.exchange import LoadedKeyset
from worker.zerokms.joining import Joiner

AUDIT = Audit("test")
SPEC = KeySpec("default", "users/email")
OTHER = KeySpec(None, "users/email")
KEYSET = DEFAULT


class Kept(FakeKeyService):
    """The fake, which remembers its keys, parts requests as the client does, and is away when told to be."""

    def __init__(self, per_request: int = 500) -> None:
        super().__init__()
        self.per_request, self.away, self.made = per_request, False, list[DataKey]()

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        if self.away:
            raise KeyServiceUnavailable("away")
        keys = super().generate(requests, audit)
        for keyset in {request.keyset for request in requests}:
            at = [i for i, request in enumerate(requests) if request.keyset == keyset]
            for start in range(0, len(at), self.per_request):
                answer = uuid4()
                for i in at[start : start + self.per_request]:
                    keys[i].request_id = answer
        self.made += keys
        return keys


class Behind:
    """One address with several authorities: each call goes to whoever's turn it is."""

    def __init__(self, *turns: FakeKeyService) -> None:
        self._turns = turns
        self.calls = 0

    def _next(self) -> FakeKeyService:
        self.calls += 1
        return self._turns[(self.calls - 1) % len(self._turns)]

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        return self._next().generate(requests, audit)

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        return self._next().retrieve(requests, audit)


def guarded(service: Behind, store: CanaryMemory) -> GuardedKeyService:
    canaries = Canaries(service, resolve=lambda _name: KEYSET, store=store, instance="test")
    return GuardedKeyService(service, canaries.check, canaries.vouch, keys_per_request=lambda: 500)


def vouching(service: Kept, vouched: list[Sequence[DataKey]], per_request: int = 500) -> GuardedKeyService:
    return GuardedKeyService(
        service, lambda _k: None, lambda _k, keys: vouched.append(list(keys)), keys_per_request=lambda: per_request
    )


def patient(service: Kept, vouch: Callable[[str | None, Sequence[DataKey]], None]) -> GuardedKeyService:
    """Return a guard that waits as long as it takes for others to join."""
    guard = GuardedKeyService(service, lambda _k: None, vouch, keys_per_request=lambda: 500)
    guard._vouching = Joiner(window_s=30)
    return guard


def test_the_canary_is_opened_once_before_the_first_key_of_a_keyset_and_after_an_outage() -> None:
    """Every keyset is checked by itself, and then no more, until nobody answers."""
    checked: list[str | None] = []
    service = Kept()
    guard = GuardedKeyService(service, checked.append, lambda _k, _w: None, keys_per_request=lambda: 500)
    for spec in (SPEC, SPEC, OTHER):
        guard.generate([spec], AUDIT)
    service.away = True
    with pytest.raises(KeyServiceUnavailable):
        guard.generate([SPEC], AUDIT)
    service.away = False

    guard.generate([SPEC], AUDIT)

    assert checked == ["default", None, "default"]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 9, 17])
def test_every_answer_has_its_witness(count: int) -> None:
    """However many keys are asked for, of several keysets, each of the service's requests brings one witness."""
    vouched: list[Sequence[DataKey]] = []
    service = Kept(per_request=5)

    keys = vouching(service, vouched, per_request=5).generate([SPEC, OTHER] * count, AUDIT)

    assert [key.descriptor for key in keys] == [SPEC.descriptor] * 2 * count
    witnesses = {key.request_id for each in vouched for key in each}
    assert {key.request_id for key in keys} == witnesses == {key.request_id for key in service.made}
    assert not any(key.is_wiped for key in keys)
    assert all(key.is_wiped for key in service.made if key.descriptor == DESCRIPTOR)


def test_an_answer_without_a_witness_gives_nothing() -> None:
    """Where the service parts requests otherwise than it said, the keys are wiped and refused."""
    service = Kept(per_request=2)

    with pytest.raises(CanaryError, match="without a witness"):
        vouching(service, [], per_request=5).generate([SPEC] * 4, AUDIT)

    assert all(key.is_wiped for key in service.made)


def test_a_service_that_takes_fewer_keys_than_before_is_asked_again() -> None:
    """That is no other authority: nothing of the answer is used, and the next request fits."""
    service, sizes = Kept(per_request=3), iter([5, 5, 3])
    size = 3
    guard = GuardedKeyService(service, lambda _k: None, lambda _k, _w: None, keys_per_request=lambda: next(sizes, size))

    with pytest.raises(KeyServiceUnavailable, match="another number"):
        guard.generate([SPEC] * 4, AUDIT)
    assert all(key.is_wiped for key in service.made)

    assert len(guard.generate([SPEC] * 4, AUDIT)) == 4


def test_answers_that_come_together_are_vouched_for_together() -> None:
    """While one is vouched for, the others' witnesses gather; none of their keys is out before that."""
    held, go = threading.Event(), threading.Event()
    vouched: list[int] = []

    def vouch(_keyset: str | None, witnesses: Sequence[DataKey]) -> None:
        vouched.append(len(witnesses))
        if len(vouched) == 1:
            held.set()
            assert go.wait(30)

    guard = patient(Kept(), vouch)
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(guard.generate, [SPEC], AUDIT)
        assert held.wait(30)
        rest = [threads.submit(guard.generate, [SPEC] * 2, AUDIT) for _ in range(3)]
        done, _ = wait(rest, timeout=0.05)
        assert not done
        go.set()
        assert [len(each.result(30)) for each in [first, *rest]] == [1, 2, 2, 2]

    assert sum(vouched) == 4
    assert len(vouched) < 4


def test_one_answer_that_is_not_vouched_for_bars_those_beside_it() -> None:
    """They were asked about in one request, of which nothing is believed."""
    held, go = threading.Event(), threading.Event()
    calls: list[int] = []
    service = Kept()

    def vouch(_keyset: str | None, witnesses: Sequence[DataKey]) -> None:
        calls.append(len(witnesses))
        if len(calls) == 1:
            held.set()
            assert go.wait(30)
        else:
            raise CanaryError("other keys than before")

    guard = patient(service, vouch)
    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(guard.generate, [SPEC], AUDIT)
        assert held.wait(30)
        rest = [threads.submit(guard.generate, [SPEC], AUDIT) for _ in range(2)]
        go.set()
        assert len(first.result(30)) == 1
        assert all(isinstance(each.exception(30), CanaryError) for each in rest)

    assert sum(key.is_wiped for key in service.made) == len(service.made) - 1


def test_keys_that_nobody_vouches_for_are_wiped() -> None:
    """A refusal by the canary hands nothing out."""
    service = Kept()

    def refuse(_keyset: str | None, _witnesses: Sequence[DataKey]) -> None:
        raise CanaryError("other keys than before")

    with pytest.raises(CanaryError):
        GuardedKeyService(service, lambda _k: None, refuse, keys_per_request=lambda: 500).generate([SPEC], AUDIT)

    assert [key.is_wiped for key in service.made] == [True, True]


@pytest.mark.parametrize("turn", range(4))
def test_two_authorities_behind_one_address_give_no_key_of_the_wrong_one(turn: int) -> None:
    """Whichever of them is asked for the keys, and whichever vouches: what is handed out the own one gives again."""
    own, wrong = Kept(), Kept()
    store = CanaryMemory()
    guarded(Behind(own), store).generate([SPEC], AUDIT)
    turns = [(own, own), (own, wrong), (wrong, own), (wrong, wrong)][turn]
    guard = guarded(Behind(own, *turns), store)

    try:
        keys = guard.generate([SPEC] * 3, AUDIT)
    except CanaryError:
        keys = []

    assert (keys != []) == (turns == (own, own))
    asked = [RetrieveRequest(k.keyset, k.iv, k.tag, k.descriptor) for k in keys]
    again = own.retrieve(asked, AUDIT)
    assert [a.secret for a in again if isinstance(a, DataKey)] == [k.secret for k in keys]


def test_another_index_key_than_the_first_is_refused() -> None:
    """An index key has no answer to stand beside: the first one's check value is kept, and tells nothing of it."""
    store = CanaryMemory()
    canaries = Canaries(Kept(), resolve=lambda _name: KEYSET, store=store, instance="test")
    first, second = (LoadedKeyset(KEYSET, "default", bytes([n]) * 32) for n in (1, 2))

    canaries.check_index(first)
    canaries.check_index(first)

    with pytest.raises(CanaryError):
        canaries.check_index(second)
    assert all(first.index_key not in value for value in store.kept.values())


def test_witnesses_count_as_wasted_keys() -> None:
    """They were generated and are used for nothing."""
    metrics = Metrics("eu-central-1")
    guard = GuardedKeyService(
        Kept(), lambda _k: None, lambda _k, _w: None, keys_per_request=lambda: 500, metrics=metrics
    )

    guard.generate([SPEC] * 3, AUDIT)

    wasted = metrics.registry.get_sample_value("worker_keys_total", {"region": "eu-central-1", "event": "wasted"})
    assert wasted == 1


def test_a_request_of_one_key_has_no_room_for_a_witness() -> None:
    """Such a bound is refused when the worker is built."""
    with pytest.raises(ConfigError, match="keys_per_request"):
        GuardedKeyService(Kept(), lambda _k: None, lambda _k, _w: None, keys_per_request=lambda: 1)
