"""A key service is believed after its canary has opened, and doubted after every outage."""

from __future__ import annotations

import pytest

from tests.fakes.keyservice import FakeKeyService
from worker.canary.guard import GuardedKeyService
from worker.errors import CanaryError, KeyServiceUnavailable
from worker.model import Audit, DataKey, KeySpec

AUDIT = Audit("test")
SPEC = KeySpec("default", "users/email")


class Failing(FakeKeyService):
    """The fake, away when told to be."""

    away = False

    def generate(self, requests: object, audit: Audit) -> list[DataKey]:
        if self.away:
            raise KeyServiceUnavailable("away")
        return super().generate(requests, audit)  # type: ignore[arg-type]


def test_the_canary_is_opened_once_before_the_first_key_of_a_keyset() -> None:
    """Every keyset is checked by itself, and then no more."""
    checked: list[str | None] = []
    guard = GuardedKeyService(FakeKeyService(), checked.append)

    guard.generate([SPEC], AUDIT)
    guard.generate([SPEC], AUDIT)
    guard.generate([KeySpec(None, "users/email")], AUDIT)

    assert checked == ["default", None]


def test_the_canary_is_opened_again_after_an_outage() -> None:
    """Whoever answers after an outage may be another authority."""
    checked: list[str | None] = []
    service = Failing()
    guard = GuardedKeyService(service, checked.append)
    guard.generate([SPEC], AUDIT)
    service.away = True
    with pytest.raises(KeyServiceUnavailable):
        guard.generate([SPEC], AUDIT)
    service.away = False

    guard.generate([SPEC], AUDIT)

    assert checked == ["default", "default"]


class Connecting(FakeKeyService):
    """The fake over a line: each number of calls in `reconnects` is answered over a new connection."""

    def __init__(self, *reconnects: int) -> None:
        super().__init__()
        self.connections, self._reconnects = 0, reconnects

    def generate(self, requests: object, audit: Audit) -> list[DataKey]:
        keys = super().generate(requests, audit)  # type: ignore[arg-type]
        self.connections += len(self.calls) in self._reconnects
        return keys


def test_the_canary_is_opened_before_a_key_of_a_new_connection_is_given() -> None:
    """Behind a new connection may be another authority: its keys wait for the canary, and go with it."""
    checked: list[str | None] = []
    service = Connecting(2)
    guard = GuardedKeyService(service, checked.append, connections=lambda: service.connections)

    for _ in range(3):
        guard.generate([SPEC], AUDIT)

    assert checked == ["default", "default"]


def test_keys_of_a_wrong_authority_behind_a_new_connection_are_wiped() -> None:
    """What came over the new connection is not handed out where the canary does not open."""
    made: list[DataKey] = []

    class Kept(Connecting):
        def generate(self, requests: object, audit: Audit) -> list[DataKey]:
            made.extend(keys := super().generate(requests, audit))
            return keys

    service = Kept(1)

    def check(_keyset: str | None) -> None:
        if service.connections:
            raise CanaryError("other keys than before")

    guard = GuardedKeyService(service, check, connections=lambda: service.connections)

    with pytest.raises(CanaryError):
        guard.generate([SPEC], AUDIT)

    assert [key.is_wiped for key in made] == [True]


def test_no_key_is_given_while_the_canary_does_not_open() -> None:
    """A wrong authority gives no key, however often it is asked."""

    def refuse(_keyset: str | None) -> None:
        raise CanaryError("other keys than before")

    guard = GuardedKeyService(FakeKeyService(), refuse)

    for _ in range(2):
        with pytest.raises(CanaryError):
            guard.generate([SPEC], AUDIT)
