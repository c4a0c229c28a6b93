"""Large calls go in portions: the keys of the next are under way while one is worked on."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from tests.unit.sdk.services import Recording
from worker.errors import DecryptionError, KeyServiceUnavailable
from worker.model import DataKey
from worker.native import IS_LOADED
from worker.sdk import Encryption, ahead, keyring
from worker.sdk.ahead import ahead as run

FIELD = "acme.crm.Customer/email"
VALUES = [f"value {i}" for i in range(300)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions of a few values."""
    for module in (ahead, keyring):
        monkeypatch.setattr(module, "PORTION", 120)


@pytest.fixture
def plain(service: Recording) -> Encryption:
    return Encryption.over(service, cache=None)


def test_values_come_back_in_their_order(plain: Encryption, service: Recording) -> None:
    """Each portion is a request of its own, the last one what is left."""
    sealed = plain.encrypt_many(VALUES, field=FIELD)

    assert plain.decrypt_many(sealed, field=FIELD) == VALUES
    parts = sorted(asked.count for asked in service.asked if asked.call == "generate")
    assert parts == [60, 120, 120]
    if IS_LOADED:
        assert sorted(asked.count for asked in service.asked if asked.call == "retrieve") == parts


def test_each_value_has_its_own_fault(plain: Encryption) -> None:
    """One that was altered and one that is no envelope stand in their places."""
    sealed = plain.encrypt_many(VALUES, field=FIELD)
    # Behind the iv: within the ciphertext.
    sealed[200] = b"".join((sealed[200][:22], bytes([sealed[200][22] ^ 1]), sealed[200][23:]))

    found = plain.decrypt_many(sealed, field=FIELD, errors="return")

    assert isinstance(found[200], DecryptionError)
    assert [*found[:200], *found[201:]] == [*VALUES[:200], *VALUES[201:]]
    found = plain.decrypt_many([*sealed, b""], field=FIELD, errors="return")
    assert isinstance(found[300], DecryptionError)
    assert found[:200] == VALUES[:200]


def test_values_of_leases_are_no_portions(plain: Encryption, service: Recording) -> None:
    """Many envelopes of few keys are asked for in one request."""
    sealed = plain.encrypt_many(VALUES, field=FIELD, format="leased")

    assert plain.decrypt_many(sealed, field=FIELD) == VALUES
    assert [asked.count for asked in service.asked] == [1, 1]


def test_no_key_outlives_a_call_that_fails(
    plain: Encryption, service: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One portion's failure ends the call, after what was under way has ended and its keys are wiped."""
    given: list[DataKey] = []
    made = service.generate

    def generate(requests: object, audit: object) -> list[DataKey]:
        keys = made(requests, audit)  # type: ignore[arg-type]
        given.extend(keys)
        return keys

    def fail() -> None:
        if len(service.asked) == 2:
            raise KeyServiceUnavailable("gone")

    monkeypatch.setattr(service, "generate", generate)
    service.during = fail

    with pytest.raises(KeyServiceUnavailable, match="gone"):
        plain.encrypt_many(VALUES, field=FIELD)

    assert all(key.is_wiped for key in given)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sdk")]


def test_the_next_portions_are_under_way_while_one_is_used() -> None:
    """Two are asked for before the first is used, and no more than that."""
    asked, used = threading.Semaphore(0), list[int]()

    def ask(number: int) -> int:
        asked.release()
        return number

    def use(number: int) -> None:
        if number == 0:
            assert all(asked.acquire(timeout=30) for _ in range(3))
        used.append(number)

    run([partial(ask, number) for number in range(5)], use)

    assert used == [0, 1, 2, 3, 4]
