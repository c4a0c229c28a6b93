"""A database that is away for a while, under what runs by itself."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pyrage
import pytest

from tests.unit.authority.erasure.conftest import People
from tests.unit.authority.erasure.thief import ANN
from worker.authority.erasure.epochs import EpochClock
from worker.authority.recovery import schedule
from worker.authority.recovery.schedule import BackupOptions, Backups

RECIPIENT = str(pyrage.x25519.Identity.generate().to_public())


@contextmanager
def away(directory: Path) -> Iterator[None]:
    """No table that anybody asks for first."""

    def rename(old: str, new: str) -> None:
        with closing(sqlite3.connect(directory / "authority.sqlite", timeout=30)) as connection:
            connection.execute(f"alter table {old} rename to {new}")
            connection.commit()

    rename("meta", "away")
    try:
        yield
    finally:
        rename("away", "meta")


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_epochs_end_once_it_is_back(people: People, tmp_path: Path) -> None:
    """What was erased is gone then, without anybody starting anything anew."""
    people.erase(ANN)
    store, told = people.own.authority.store, list[dict[str, object]]()
    with away(tmp_path / "own"):
        clock = EpochClock(people.own.authority.epochs, 0.01, told.append)
        until(lambda: store.is_away)
    until(lambda: told)
    clock.close()

    assert told[0]["operation"] == "end-epoch"


def test_backups_are_made_once_it_is_back(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that could not be made is made soon after."""
    monkeypatch.setattr(schedule, "_AGAIN_S", 0.01)
    asked, own = list[float](), people.own.authority

    def clock() -> float:
        asked.append(time.time())
        return asked[-1]

    with away(tmp_path / "own"):
        options = BackupOptions(tmp_path / "backups", (RECIPIENT,))
        backups = Backups(options, own.subjects, own.trail, lambda: None, clock=clock)
        # Once to see that it is time, once to name it: then it failed, and is tried again.
        until(lambda: len(asked) > 3)
        assert not backups.kept
    until(lambda: backups.kept)
    backups.close()
