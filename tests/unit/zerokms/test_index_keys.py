"""Index keys are asked for again, so that a revoked client learns of it."""

from __future__ import annotations

from uuid import UUID

import pytest

from worker.errors import KeyAccessDenied, KeyMaterialError, KeyServiceUnavailable
from worker.zerokms.exchange import LoadedKeyset
from worker.zerokms.keys import IndexKeys

KEYSET = LoadedKeyset(UUID(int=1), "default", bytes(32))


class Service:
    """Answers with what it is told, or raises it; counts."""

    def __init__(self) -> None:
        self.answer: LoadedKeyset | Exception = KEYSET
        self.asked = 0
        self.now = 0.0

    def load(self, name: str | None) -> LoadedKeyset:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def service() -> Service:
    return Service()


def held(service: Service) -> IndexKeys:
    keys = IndexKeys(service.load, max_age_s=300, clock=lambda: service.now)
    keys.get(None)
    return keys


def test_an_answer_is_used_no_longer_than_its_age(service: Service) -> None:
    """Within `max_age_s` nobody is asked, after it a refusal reaches the caller."""
    keys = held(service)
    service.answer, service.now = KeyAccessDenied("no grant"), 300.0
    keys.get(None)
    service.now = 300.1

    with pytest.raises(KeyAccessDenied):
        keys.get(None)

    assert service.asked == 2


def test_an_outage_is_not_bridged_with_an_old_key(service: Service) -> None:
    """A key too old to be used is not used because nobody answers."""
    keys = held(service)
    service.answer, service.now = KeyServiceUnavailable("away"), 301.0

    with pytest.raises(KeyServiceUnavailable):
        keys.get(None)


def test_a_disabled_keyset_is_refused(service: Service) -> None:
    """Its index key may not be used."""
    service.answer = LoadedKeyset(KEYSET.id, "default", bytes(32), is_disabled=True)

    with pytest.raises(KeyAccessDenied, match="disabled"):
        held(service)


@pytest.mark.parametrize(
    "other", [LoadedKeyset(KEYSET.id, "default", b"1" * 32), LoadedKeyset(UUID(int=2), "default", bytes(32))]
)
def test_another_index_key_stops(service: Service, other: LoadedKeyset) -> None:
    """Keys would get other pseudonyms than before, and a compacted topic would keep both."""
    keys = held(service)
    keys.forget()
    service.answer = other

    with pytest.raises(KeyMaterialError, match="another index key"):
        keys.get(None)
