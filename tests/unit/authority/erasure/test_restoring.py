"""What is erased stays erased when an older backup is restored with its journal, and a backup ends with its key."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyrage
import pytest
from typer.testing import CliRunner

from tests.unit.authority.conftest import Party
from tests.unit.authority.erasure.conftest import PEOPLE, KeyService, People, value
from worker.authority.dev import DevAuthority
from worker.authority.erasure.keyholder import CommandKeys
from worker.authority.recovery.restore import Anchored, Source, restore
from worker.authority.seal import Sealer, root_from_file
from worker.authority.server import AuthorityOptions
from worker.cli import authority as command
from worker.errors import ConfigError, KeyAccessDenied
from worker.region import Region

LATER = {"Name": "later"}


def back_up(people: People, place: Path) -> list[dict[str, Any]]:
    """Make a backup by hand; returns the keys of all."""
    identity = pyrage.x25519.Identity.generate()
    (place / "identity").write_text(f"{identity}\n")
    arguments = ["backup", "--recipient", str(identity.to_public()), "--output", str(place / "backup")]
    done = CliRunner().invoke(command.app, arguments, env=people.own.env, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    keys: list[dict[str, Any]] = people.own.admin("api/backups", None, "GET")
    return keys


def run(place: Path, service: KeyService, verb: str, *more: str) -> Any:
    """Restore, or drill."""
    files = {"--identity": "identity", "--journal": "journal", "--anchor": "anchor", "--root-key-file": "own/root.key"}
    arguments = [verb, str(place / "backup"), "--region", "eu-central-1", "--epoch-key-command", service.command]
    arguments += [text for name, file in files.items() for text in (name, str(place / file))]
    return CliRunner().invoke(command.app, [*arguments, *more])


def restored(place: Path, service: KeyService, options: AuthorityOptions) -> DevAuthority:
    """The authority that the restore made, unlocked."""
    done = run(place, service, "restore", "--data", str(place / "new"))
    assert done.exit_code == 0, (done.output, done.exception)
    for name in ("root.key", "credentials.env"):
        shutil.copy(place / "own" / name, place / "new" / name)
    own = DevAuthority("eu-central-1", place / "new", options=AuthorityOptions(keys=options.keys))
    (credential,) = [line.split(": ")[1] for line in done.output.splitlines() if line.startswith("  ")]
    CliRunner().invoke(command.app, ["unlock", "--url", own.url, "--credential", credential])
    return own


def test_a_restored_store_destroys_nothing_before_it_is_unlocked(
    people: People, options: AuthorityOptions, key_service: KeyService, tmp_path: Path
) -> None:
    """The store that it was made of may live, under those very keys: a start to look at it is no decision."""
    item, key = people.make(customer_id=1)
    back_up(people, tmp_path)
    people.own.stop()
    done = run(tmp_path, key_service, "restore", "--data", str(tmp_path / "new"))
    assert done.exit_code == 0, (done.output, done.exception)
    for name in ("root.key", "credentials.env"):
        shutil.copy(tmp_path / "own" / name, tmp_path / "new" / name)
    before, told = key_service.names, list[dict[str, Any]]()

    with DevAuthority("eu-central-1", tmp_path / "new", options=AuthorityOptions(keys=options.keys)) as locked:
        found = locked.authority.epochs.move(told.append)

    assert (found["destroyed"], told, key_service.names) == ([], [], before)
    with DevAuthority("eu-central-1", tmp_path / "own", options=options) as own:
        assert client_of(own).retrieve(item, PEOPLE) == key


def client_of(own: DevAuthority) -> Party:
    env = own.env
    return Party(own.url, env["CS_CLIENT_ACCESS_KEY"], env["CS_CLIENT_ID"], env["CS_CLIENT_KEY"])


@pytest.mark.parametrize("ends", [0, 1, 2])
def test_an_older_backup_brings_nothing_erased_back(
    people: People, options: AuthorityOptions, key_service: KeyService, tmp_path: Path, ends: int
) -> None:
    """However many epochs ended since: erased before and after it stays erased, and all others open, young ones too."""
    kept = {n: people.make(customer_id=n) for n in range(12)}
    people.erase(("customer_id", 0))
    back_up(people, tmp_path)
    people.own.admin("create-keyset", {"name": "later", "description": "later", "erasable": True})
    people.own.grant(people.client.client_id, "later")
    young = [people.client.generate(keyset=LATER, context=[value("customer_id", n)]) for n in range(3)]
    people.erase(*(("customer_id", n) for n in (1, 2)))
    for end in range(ends):
        assert people.own.admin("api/epoch")["moved"]
        people.erase(("customer_id", 3 + end))
        people.own.admin("api/erase", {"keyset_id": LATER, "values": [["customer_id", str(end)]]})
    people.own.stop()

    with restored(tmp_path, key_service, options) as own:
        again, out = People(own, client_of(own)), 3 + ends
        assert [n for n, a in enumerate(again.retrieve_each([k for k, _ in kept.values()])) if "Err" in a] == [
            *range(out)
        ]
        assert all(again.client.retrieve(kept[n][0], PEOPLE) == kept[n][1] for n in range(out, 12))
        for n, (item, key) in enumerate(young):
            if n < ends:
                with pytest.raises(KeyAccessDenied, match="subject_erased"):
                    again.client.retrieve(item, LATER)
            else:
                assert again.client.retrieve(item, LATER) == key
        own.admin("api/epoch")
        assert {v["state"] for v in again.erased(*(("customer_id", n) for n in range(out)))["values"]} == {"gone"}
        assert again.client.retrieve(kept[11][0], PEOPLE) == kept[11][1]


def test_a_drill_touches_no_key_outside(people: People, key_service: KeyService, tmp_path: Path) -> None:
    """It proves the trees too, and makes and destroys nothing."""
    people.make(customer_id=1)
    back_up(people, tmp_path)
    people.erase(("customer_id", 1))
    before = key_service.names
    people.own.stop()

    done = run(tmp_path, key_service, "drill")

    assert done.exit_code == 0, (done.output, done.exception)
    assert '"wrong": []' in done.output
    assert key_service.names == before


def test_every_output_names_the_backups_that_still_hold_it(people: People, tmp_path: Path) -> None:
    """Those from before the erasure, until each has expired."""
    (key,) = back_up(people, tmp_path)
    people.erase(("customer_id", 1))
    assert people.own.admin("api/epoch")["moved"]
    assert people.erased(("customer_id", 1))["backups"] == [key["name"]]

    done = CliRunner().invoke(command.app, ["expire-backup", key["name"]], env=people.own.env)

    assert done.exit_code == 0, done.output
    assert people.erased(("customer_id", 1))["backups"] == []


def test_a_backup_is_not_restored_after_its_end(people: People, key_service: KeyService, tmp_path: Path) -> None:
    """Its key is destroyed, and so is the epoch's: the tree is nowhere, and the restore says so."""
    (key,) = back_up(people, tmp_path)
    people.erase(("customer_id", 1))
    people.own.admin("api/epoch")
    people.own.admin("api/backups/expire", {"name": key["name"]})
    people.own.stop()
    root = Sealer(root_from_file(tmp_path / "own" / "root.key"))
    alone = Source(
        (tmp_path / "backup").read_bytes(),
        tmp_path / "identity",
        None,
        Anchored(1, 1),
        CommandKeys(key_service.command),
    )

    with pytest.raises(ConfigError, match="does not open: the backup's key has been destroyed"):
        restore(tmp_path / "new.sqlite", Region("eu-central-1"), root, alone, ["ann"])
