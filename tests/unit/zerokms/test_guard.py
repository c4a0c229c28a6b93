"""A key service is believed after its canary has opened, and doubted after every outage."""

from __future__ import annotations

import pytest

from tests.fakes.keyservice import FakeKeyService
from worker.errors import CanaryError, KeyServiceUnavailable
from worker.model import Audit, DataKey, KeySpec
from worker.zerokms.guard import GuardedKeyService

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


def test_no_key_is_given_while_the_canary_does_not_open() -> None:
    """A wrong authority gives no key, however often it is asked."""

    def refuse(_keyset: str | None) -> None:
        raise CanaryError("other keys than before")

    guard = GuardedKeyService(FakeKeyService(), refuse)

    for _ in range(2):
        with pytest.raises(CanaryError):
            guard.generate([SPEC], AUDIT)
