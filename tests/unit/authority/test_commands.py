"""The command line's way through an enrolment, a rotation and a keyset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.authority.conftest import Party, party
from worker.authority import seal
from worker.authority.dev import DevAuthority, read_env
from worker.authority.server import Authority, first_workspace
from worker.cli import client, keyset
from worker.errors import ConfigError, KeyAccessDenied
from worker.region import Region


def run(app: typer.Typer, authority: DevAuthority, *arguments: str) -> Any:
    """Run a command with an authority's variables; returns its JSON."""
    env = {**authority.env, "CS_CLIENT_ACCESS_KEY": authority.env["CS_ADMIN_ACCESS_KEY"]}
    result = CliRunner().invoke(app, [*arguments, "--json"], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _enrolled(authority: DevAuthority, path: Path) -> Party:
    env = read_env(path)
    return Party(authority.url, authority.env["CS_ADMIN_ACCESS_KEY"], env["CS_CLIENT_ID"], env["CS_CLIENT_KEY"])


def test_a_client_is_enrolled_through_another(own: DevAuthority, tmp_path: Path) -> None:
    """A client made by `create --via` reads what was written before it existed."""
    kept, key = party(own).generate()

    run(client.app, own, "create", "third", "--region", "eu-central-1", "--via", "--env-file", str(tmp_path / "e"))

    assert _enrolled(own, tmp_path / "e").retrieve(kept) == key
    assert (tmp_path / "e").stat().st_mode & 0o077 == 0


def test_an_enrolment_in_two_hands(own: DevAuthority, tmp_path: Path) -> None:
    """Propose, approve and accept are three commands; the accepted client reads, the proposal is used up."""
    kept, key = party(own).generate()
    paper, region = str(tmp_path / "proposal"), ("--region", "eu-central-1")
    made = run(client.app, own, "create", "third", *region, "--via", "--proposal", paper)
    run(client.app, own, "approve", made["client_id"])

    run(client.app, own, "create", "third", *region, "--accept", paper, "--env-file", str(tmp_path / "e"))

    assert _enrolled(own, tmp_path / "e").retrieve(kept) == key
    with pytest.raises(KeyAccessDenied, match="used up"):
        run(client.app, own, "create", "third", *region, "--accept", paper, "--env-file", str(tmp_path / "f"))


def test_a_rotation_keeps_data_readable(own: DevAuthority, tmp_path: Path) -> None:
    """After `rotate` the new client reads the old data, and the old one is refused."""
    own.create_keyset("other")
    own.grant(own.env["CS_CLIENT_ID"], "other")
    old = party(own)
    kept, key = old.generate(keyset={"Name": "other"})

    run(client.app, own, "rotate", "first-2", "--region", "eu-central-1", "--env-file", str(tmp_path / "e"))

    assert _enrolled(own, tmp_path / "e").retrieve(kept, {"Name": "other"}) == key
    with pytest.raises(KeyAccessDenied, match="404"):
        old.retrieve(kept, {"Name": "other"})


def test_keysets_are_made_granted_disabled_and_revoked(own: DevAuthority) -> None:
    """Each command does at the authority what it says."""
    first, name = party(own), {"Name": "eu/second"}
    run(keyset.app, own, "create", "eu/second")
    run(keyset.app, own, "grant", "eu/second", first.client_id)
    kept, key = first.generate(keyset=name)

    run(keyset.app, own, "disable", "eu/second")
    with pytest.raises(KeyAccessDenied, match="disabled"):
        first.retrieve(kept, name)
    run(keyset.app, own, "enable", "eu/second")
    assert first.retrieve(kept, name) == key
    run(keyset.app, own, "revoke", "eu/second", first.client_id)
    with pytest.raises(KeyAccessDenied, match="not granted"):
        first.retrieve(kept, name)


def test_a_deletion_names_the_descendants(own: DevAuthority) -> None:
    """Deleting a client answers with everything that went with it."""
    gone = run(client.app, own, "delete", own.env["CS_CLIENT_ID"], "--yes")

    assert set(gone["deleted"]) == {own.env["CS_CLIENT_ID"], own.env["CS_CLIENT_ID_2"]}


def test_the_root_key_comes_from_exactly_one_place(tmp_path: Path) -> None:
    """A file, a variable and a command each give the key; none, two or nonsense are refused."""
    text, path = "ab" * 32, tmp_path / "root"
    path.write_text(text)

    expected = bytes.fromhex(text)
    assert seal.root_key(path, None, None) == expected
    assert seal.root_key(None, text, None) == expected
    assert seal.root_key(None, None, f"echo {text}") == expected
    for wrong in ((None, None, None), (path, text, None), (None, "no", None), (None, None, "false")):
        with pytest.raises(ConfigError):
            seal.root_key(*wrong)


def test_a_new_store_needs_a_place_for_its_admin_key(tmp_path: Path) -> None:
    """The first admin key is made once and only where it can be kept."""
    authority = Authority(Region("eu-central-1"), tmp_path, bytes(32), "http://127.0.0.1/")
    try:
        with pytest.raises(ConfigError, match="admin-key-file"):
            first_workspace(authority.store, wanted=False)
        made = first_workspace(authority.store, wanted=True)
        assert made is not None
        assert first_workspace(authority.store, wanted=True) is None
    finally:
        authority.close()
