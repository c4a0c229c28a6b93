"""The attack: what opens an erased value before its epoch's key is destroyed, and from a backup, opens none after."""

from __future__ import annotations

from pathlib import Path

from tests.unit.authority.erasure.conftest import KeyService, People
from tests.unit.authority.erasure.test_restoring import back_up
from tests.unit.authority.erasure.thief import ANN, Copy, Thief
from worker.authority.erasure import shards
from worker.authority.recovery.backup import read_backup
from worker.authority.seal import Sealer
from worker.errors import ConfigError


def thief_of(people: People, place: Path, service: KeyService) -> Thief:
    """Whoever has everything of the host."""
    files = sorted((place / "own").glob("authority.sqlite*"))
    return Thief.of(people, place, service, [Copy(path.read_bytes()) for path in files], [ANN])


def test_raw_files_open_it_before_the_epochs_key_is_destroyed_and_not_after(
    people: People, key_service: KeyService, tmp_path: Path
) -> None:
    """Log, dead rows and journal included; the same search opens a living value before and after."""
    kept, key = people.make(customer_id=42)
    living, living_key = people.make(customer_id=43)
    people.erase(ANN)
    before = thief_of(people, tmp_path, key_service)
    assert key in before.opens(kept)
    assert key in before.with_journal_alone.opens(kept)
    assert living_key in before.opens(living)

    people.own.admin("api/epoch")

    after = thief_of(people, tmp_path, key_service)
    # What the host was copied as before counts too.
    after.raw.extend(before.raw)
    assert key not in after.opens(kept)
    assert living_key in after.opens(living)


def test_a_backup_opens_it_until_its_own_key_is_destroyed(
    people: People, key_service: KeyService, tmp_path: Path
) -> None:
    """With its age identity, the root key and a client's key; the epoch's end does not end it."""
    kept, key = people.make(customer_id=42)
    (made,) = back_up(people, tmp_path)
    people.erase(ANN)
    people.own.admin("api/epoch")
    backup = read_backup((tmp_path / "backup").read_bytes(), tmp_path / "identity")

    def opened() -> set[bytes]:
        thief, found = thief_of(people, tmp_path, key_service), set[bytes]()
        for under in thief.outside:
            for row in backup.tables["shards"].values():
                try:
                    tree = shards.tree_of(row, shards.key_of_part(row, Sealer(under)))
                except ConfigError:
                    continue
                found |= thief.opens(kept, tree)
        return found

    assert key in opened()

    people.own.admin("api/backups/expire", {"name": made["name"]})

    assert key not in opened()


def test_without_a_key_command_it_stays_open_to_who_has_the_root_key(own_people: People, tmp_path: Path) -> None:
    """Which is why nothing there is ever called gone."""
    kept, key = own_people.make(customer_id=42)
    own_people.erase(ANN)
    nothing = KeyService(tmp_path / "none")
    nothing.place.mkdir()
    (tmp_path / "journal").touch()

    assert key in thief_of(own_people, tmp_path, nothing).opens(kept)
