"""Backups make themselves, open, are told in the audit, and the oldest go."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest

from tests.unit.authority.conftest import lines
from worker.authority.dev import DevAuthority
from worker.authority.recovery.backup import read_backup
from worker.authority.recovery.schedule import BackupOptions, Backups
from worker.authority.server import AuthorityOptions
from worker.errors import ConfigError

IDENTITY = pyrage.x25519.Identity.generate()
RECIPIENT = str(IDENTITY.to_public())


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_start_makes_one_where_there_is_none_and_a_second_start_does_not(tmp_path: Path) -> None:
    """It opens with the identity, has a line in the audit, and counts as the last one."""
    (tmp_path / "identity").write_text(f"{IDENTITY}\n")
    place = tmp_path / "backups"
    options = AuthorityOptions(backups=BackupOptions(place, (RECIPIENT,)))
    for _ in range(2):
        with DevAuthority("eu-central-1", tmp_path / "data", options=options) as own:
            until(lambda: len(list(place.glob("*.age"))) == 1)
            until(lambda: any(line["operation"] == "backup" for line in lines(own)))

    (made,) = place.glob("*.age")
    assert read_backup(made.read_bytes(), tmp_path / "identity").region == "eu-central-1"
    told = [line for line in lines(own) if line["operation"] == "backup"]
    assert [line["what"]["file"] for line in told] == [made.name]
    assert (place.stat().st_mode & 0o777, made.stat().st_mode & 0o777) == (0o700, 0o600)


def test_the_newest_are_kept(own: DevAuthority, tmp_path: Path) -> None:
    """Whatever else lies in the directory stays."""
    place, now = tmp_path / "backups", [2e9]
    place.mkdir(mode=0o700)
    (place / "notes.age").write_text("mine")
    options = BackupOptions(place, (RECIPIENT,), every_s=1e9, keep=2)
    backups = Backups(
        options, own.authority.subjects, own.authority.trail, lambda: None, last=now[0], clock=lambda: now[0]
    )
    made = []
    for _ in range(4):
        now[0] += 1
        made.append(backups.make())
    backups.close()

    assert backups.kept == made[-2:]
    assert (place / "notes.age").exists()


def test_one_that_fails_is_not_the_last(own: DevAuthority, tmp_path: Path) -> None:
    """Only one that lies there whole counts, and has a line."""
    place, told = tmp_path / "backups", list[int]()
    options, authority = BackupOptions(place, (RECIPIENT,)), own.authority
    backups = Backups(options, authority.subjects, authority.trail, lambda: told.append(1), last=time.time())
    place.rmdir()
    with pytest.raises(ConfigError, match="can't be written: No such file"):
        backups.make()
    assert told == []
    assert not any(line["operation"] == "backup" for line in lines(own))
    place.mkdir(mode=0o700)
    backups.make()
    backups.close()

    assert told == [1]


def test_a_recipient_that_is_none_is_refused_at_the_start(own: DevAuthority, tmp_path: Path) -> None:
    """Not on the day of the first backup."""
    with pytest.raises(ConfigError, match="age public key"):
        Backups(BackupOptions(tmp_path / "b", ("age1no",)), own.authority.subjects, own.authority.trail, lambda: None)


@pytest.mark.parametrize("last", [-1e6, 1e6], ids=["long_ago", "clock_put_back"])
def test_one_is_made_where_the_last_may_be_of_any_age(own: DevAuthority, tmp_path: Path, last: float) -> None:
    """A clock that was ahead and is right again keeps nobody from backups until it comes there."""
    place, now = tmp_path / "backups", 2e9
    options, authority = BackupOptions(place, (RECIPIENT,), every_s=3600), own.authority
    backups = Backups(options, authority.subjects, authority.trail, lambda: None, last=now + last, clock=lambda: now)

    until(lambda: bool(backups.kept))

    backups.close()


def test_one_is_not_deleted_for_a_younger_name(own: DevAuthority, tmp_path: Path) -> None:
    """What was made while the clock was ahead does not make every later one the oldest."""
    place, now = tmp_path / "backups", 2e9
    options, authority = BackupOptions(place, (RECIPIENT,), every_s=1e9, keep=1), own.authority
    backups = Backups(options, authority.subjects, authority.trail, lambda: None, last=now, clock=lambda: now)
    (place / "authority-eu-central-1-20991231T000000.000000Z.age").touch()

    made = backups.make()

    backups.close()
    assert made.exists()
