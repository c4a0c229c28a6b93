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
from worker.authority.erasure.keyholder import KeyHolder
from worker.authority.recovery import schedule
from worker.authority.recovery.schedule import BackupOptions, Backups
from worker.authority.refusal import Refusal
from worker.errors import ConfigError

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


def test_backups_wait_until_a_restored_store_is_unlocked(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has said yet that it is to go on: it makes none, for which older ones would go with their keys."""
    monkeypatch.setattr(schedule, "_LOOK_S", 0.01)
    asked, own = list[float](), people.own.authority
    own.store.write(lambda _transaction: None, lock=lambda _lock: ("ann",))

    def clock() -> float:
        asked.append(time.time())
        return asked[-1]

    options = BackupOptions(tmp_path / "backups", (RECIPIENT,))
    backups = Backups(options, own.subjects, own.trail, lambda: None, clock=clock)
    until(lambda: len(asked) > 3)
    assert not backups.kept
    own.store.write(lambda _transaction: None, lock=lambda _lock: ())
    until(lambda: backups.kept)
    backups.close()


class Stubborn:
    """A `KeyHolder` that makes keys and destroys none."""

    destroys = True

    def __init__(self, holder: KeyHolder) -> None:
        self._holder = holder
        self.create, self.get = holder.create, holder.get

    def destroy(self, name: str) -> None:
        raise ConfigError(f"the key {name} is still to be had")


def test_the_audit_says_of_no_key_that_it_is_destroyed_before_it_is(people: People) -> None:
    """An auditor would take the line for the proof that what was erased is gone."""
    people.erase(ANN)
    epochs, told = people.own.authority.epochs, list[dict[str, object]]()
    assert epochs.holder is not None
    holder, epochs.holder = epochs.holder, Stubborn(epochs.holder)

    with pytest.raises(Refusal, match="still to be had"):
        epochs.move(told.append)

    assert [[*what] for what in told] == [["ended", "begun", "key"]]
    epochs.holder = holder
    assert epochs.move(told.append)["destroyed"] == [what["destroyed"] for what in told[1:]]


def test_a_backup_that_could_not_be_written_is_not_said_to_hold_anything(people: People, tmp_path: Path) -> None:
    """Its key ends with it: a full disk would leave one at every attempt."""
    people.make(customer_id=42)
    own = people.own.authority
    options = BackupOptions(tmp_path / "backups", (RECIPIENT,))
    backups = Backups(options, own.subjects, own.trail, lambda: None, last=time.time())
    (tmp_path / "backups").rmdir()

    with pytest.raises(ConfigError, match="can't be written"):
        backups.make()
    backups.close()

    assert people.erase(ANN)["backups"] == []
    assert [row["destroyed_at"] is not None for row in people.own.admin("api/backups", None, "GET")] == [True]


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
