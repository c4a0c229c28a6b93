"""A key command that takes its time, or fails, is waited for by those alone who need what it keeps."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.unit.authority.conftest import party
from tests.unit.authority.erasure.conftest import PEOPLE, People, with_people
from worker.authority.dev import DevAuthority
from worker.authority.erasure import epochs
from worker.authority.erasure.subjects import Subjects
from worker.authority.server import AuthorityOptions
from worker.errors import ConfigError, KeyServiceUnavailable


class SlowKeys:
    """A `KeyHolder` in memory that answers when it is let, and counts who asked."""

    destroys = True

    def __init__(self) -> None:
        self.keys: dict[str, bytes] = {}
        self.open, self.asked = threading.Event(), threading.Semaphore(0)
        self.open.set()
        self.gets, self.is_away = 0, False

    def create(self, name: str) -> bytes:
        self._wait()
        return self.keys.setdefault(name, os.urandom(32))

    def get(self, name: str) -> bytes:
        self.gets += 1
        self._wait()
        if self.is_away:
            raise ConfigError("away")
        return self.keys[name]

    def destroy(self, name: str) -> None:
        self.keys.pop(name, None)

    def _wait(self) -> None:
        self.asked.release()
        assert self.open.wait(30)


@pytest.fixture
def keys() -> Iterator[SlowKeys]:
    held = SlowKeys()
    yield held
    held.open.set()


@pytest.fixture
def again(keys: SlowKeys, tmp_path: Path) -> Iterator[People]:
    """An authority that has been started anew, and has no epoch's key in memory yet."""
    options = AuthorityOptions(keys=keys)
    with DevAuthority("eu-central-1", tmp_path / "own", options=options) as own:
        with_people(own)
    while keys.asked.acquire(blocking=False):
        pass
    with DevAuthority("eu-central-1", tmp_path / "own", options=options) as own:
        yield People(own, party(own))


def test_nobody_else_waits_for_an_epoch_s_key(again: People, keys: SlowKeys) -> None:
    """While a request for a subject's key waits for the command, others have theirs: of one key, and of many."""
    keys.open.clear()
    item = {"iv": "A" * 22 + "==", "descriptor": "a/b"}
    many: dict[str, Any] = {"client_id": again.client.client_id, "keys": [item] * 200}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: again.make(id=1))
        assert keys.asked.acquire(timeout=20)

        assert party(again.own).generate()
        assert len(party(again.own).call("generate-data-key", many)["keys"]) == 200
        assert not waiting.done()
        keys.open.set()
        assert waiting.result(20)


def test_no_write_waits_for_the_first_epoch_s_key(keys: SlowKeys, tmp_path: Path) -> None:
    """While the command makes it, other keysets are made; and so it is asked before the store is held."""
    with DevAuthority("eu-central-1", tmp_path / "own", options=AuthorityOptions(keys=keys)) as own:
        keys.open.clear()
        with ThreadPoolExecutor(1) as threads:
            making = threads.submit(with_people, own)
            assert keys.asked.acquire(timeout=20)

            own.create_keyset("plain")
            assert not making.done()
            keys.open.set()
            assert making.result(20)


def test_a_command_that_fails_is_not_asked_by_every_request(
    again: People, keys: SlowKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks just after is refused without it."""
    monkeypatch.setattr(epochs, "AGAIN_S", 3600.0)
    keys.is_away, keys.gets = True, 0

    for _ in range(5):
        with pytest.raises(KeyServiceUnavailable, match="key command"):
            again.make(id=1)

    assert keys.gets == 1


def test_new_subjects_are_found_beside_the_event_loop(again: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few keys a request asks for, the leaves of its contexts are found on a thread of their own."""
    leaf, threads = Subjects.leaf, set()

    def seen(self: Subjects, *arguments: Any) -> bytes | None:
        threads.add(threading.current_thread().name)
        return leaf(self, *arguments)

    monkeypatch.setattr(Subjects, "leaf", seen)
    again.make(id=1)
    again.client.retrieve(again.make(id=2)[0], PEOPLE)

    assert {name.partition("_")[0] for name in threads} == {"waiting"}
