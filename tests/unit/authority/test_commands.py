"""The command line's way through an enrolment, a rotation and a keyset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.authority.conftest import Party, access_key, party
from worker.authority import seal
from worker.authority.dev import DevAuthority, read_env
from worker.cli import access_key as access_keys
from worker.cli import client, keyset
from worker.errors import ConfigError, KeyAccessDenied


def run(app: typer.Typer, authority: DevAuthority, *arguments: str, **more: str) -> Any:
    """Run a command with an authority's variables; returns its JSON."""
    env = {**authority.env, **more}
    result = CliRunner().invoke(app, [*arguments, "--json"], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def _enrolled(authority: DevAuthority, path: Path) -> Party:
    env = read_env(path)
    return Party(authority.url, env["CS_CLIENT_ACCESS_KEY"], env["CS_CLIENT_ID"], env["CS_CLIENT_KEY"])


def test_a_client_is_enrolled_through_another(own: DevAuthority, tmp_path: Path) -> None:
    """A client made by `create --via` reads what was written before it existed."""
    kept, key = party(own).generate()

    run(client.app, own, "create", "third", "--region", "eu-central-1", "--via", "--env-file", str(tmp_path / "e"))

    assert _enrolled(own, tmp_path / "e").retrieve(kept) == key
    assert (tmp_path / "e").stat().st_mode & 0o077 == 0


def test_a_scope_that_lacks_says_whose_key_to_give(own: DevAuthority) -> None:
    """Outside of the tutorial the variable of an administrator is not set, and a worker's key is tried."""
    env = {**own.env, "CS_ADMIN_ACCESS_KEY": "", "CS_CLIENT_ACCESS_KEY": own.env["CS_CLIENT_ACCESS_KEY"]}

    with pytest.raises(KeyAccessDenied, match=r"dataset:create is missing; .*CS_ADMIN_ACCESS_KEY"):
        CliRunner().invoke(keyset.app, ["create", "another"], env=env, catch_exceptions=False)


def test_an_enrolment_in_two_hands(own: DevAuthority, tmp_path: Path) -> None:
    """Propose, approve and accept are three commands; the accepted client reads, the proposal is used up."""
    kept, key = party(own).generate()
    paper, region = str(tmp_path / "proposal"), ("--region", "eu-central-1")
    made = run(client.app, own, "create", "third", *region, "--via", "--proposal", paper)
    shown = run(client.app, own, "approve", made["client_id"], "--yes")
    bound = {"CS_CLIENT_ACCESS_KEY": access_key(own, made["client_id"], "writer")}

    run(client.app, own, "create", "third", *region, "--accept", paper, "--env-file", str(tmp_path / "e"), **bound)

    env = read_env(tmp_path / "e")
    member = access_key(own, made["client_id"])
    assert Party(own.url, member, env["CS_CLIENT_ID"], env["CS_CLIENT_KEY"]).retrieve(kept) == key
    assert (shown["name"], shown["via"]) == ("third", own.env["CS_CLIENT_ID"])
    with pytest.raises(KeyAccessDenied, match="used up"):
        run(client.app, own, "create", "third", *region, "--accept", paper, "--env-file", str(tmp_path / "f"), **bound)


def test_a_rotation_keeps_data_readable(own: DevAuthority, tmp_path: Path) -> None:
    """After `rotate` the new client reads the old data, and neither the old client nor its access key is there."""
    own.create_keyset("other")
    own.grant(own.env["CS_CLIENT_ID"], "other")
    old = party(own)
    kept, key = old.generate(keyset={"Name": "other"})

    run(client.app, own, "rotate", "first-2", "--region", "eu-central-1", "--env-file", str(tmp_path / "e"))

    assert _enrolled(own, tmp_path / "e").retrieve(kept, {"Name": "other"}) == key
    with pytest.raises(KeyAccessDenied, match="access key of this token has been deleted"):
        old.retrieve(kept, {"Name": "other"})
    assert "first" not in {row["name"] for row in own.admin("list-clients", {})}


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


def test_a_deletion_keeps_the_descendants(own: DevAuthority) -> None:
    """A client that was enrolled through the deleted one goes on; `--cascade` takes it too."""
    second = party(own, "_2")
    kept, key = second.generate()
    gone = run(client.app, own, "delete", own.env["CS_CLIENT_ID"], "--yes")

    assert gone["deleted"] == [own.env["CS_CLIENT_ID"]]
    assert second.retrieve(kept) == key


def test_a_deletion_takes_the_descendants_where_asked(own: DevAuthority) -> None:
    """With `--cascade` everything enrolled through the client goes with it, and the answer names all."""
    arguments = ("delete", own.env["CS_CLIENT_ID"], "--cascade", "--yes")
    with pytest.raises(KeyAccessDenied, match="last client"):
        run(client.app, own, *arguments)

    gone = run(client.app, own, *arguments, "--last", "first")

    assert set(gone["deleted"]) == {own.env["CS_CLIENT_ID"], own.env["CS_CLIENT_ID_2"]}


def test_the_last_client_goes_only_by_its_name(own: DevAuthority) -> None:
    """A bare yes does not make a workspace's data unreadable: the name is typed after what is lost was said."""
    run(client.app, own, "delete", own.env["CS_CLIENT_ID"], "--yes")
    second = own.env["CS_CLIENT_ID_2"]

    refused = CliRunner().invoke(client.app, ["delete", second], env=own.env, input="y\n")
    assert isinstance(refused.exception, KeyAccessDenied)
    assert "lost for ever" in refused.output
    done = CliRunner().invoke(client.app, ["delete", second, "--json"], env=own.env, input="second\n")

    assert done.exit_code == 0
    assert own.admin("list-clients", {}) == []


def test_access_keys_are_made_bound_listed_and_deleted(own: DevAuthority) -> None:
    """An access key without a client derives nothing until it is bound, and is bound once."""
    first = own.env["CS_CLIENT_ID"]
    made = run(access_keys.app, own, "create", "loose", "--role", "member")["accessKey"]
    with pytest.raises(KeyAccessDenied, match="bound to no client"):
        party(own, access_key=made).generate()

    run(access_keys.app, own, "bind", "loose", first)
    party(own, access_key=made).generate()
    with pytest.raises(KeyAccessDenied, match="409"):
        run(access_keys.app, own, "bind", "loose", own.env["CS_CLIENT_ID_2"])
    run(access_keys.app, own, "delete", "loose")
    with pytest.raises(KeyAccessDenied, match="401"):
        party(own, access_key=made).generate()


def test_the_root_key_comes_from_exactly_one_place(tmp_path: Path) -> None:
    """A file, a variable and a command each give the key; none, two or nonsense are refused."""
    text, path = "ab" * 32, tmp_path / "root"
    path.write_text(text)
    path.chmod(0o600)

    expected = bytes.fromhex(text)
    assert seal.root_key(path, None, None) == expected
    assert seal.root_key(None, text, None) == expected
    assert seal.root_key(None, None, f"echo {text}") == expected
    for wrong in ((None, None, None), (path, text, None), (None, "no", None), (None, None, "false")):
        with pytest.raises(ConfigError):
            seal.root_key(*wrong)
