"""What is shown once is made once it can be kept, and what is named in a file is read as it stands there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.disk import no_room
from worker.authority.dev import DevAuthority, read_env
from worker.authority.management import new_workspace
from worker.authority.refusal import Refusal
from worker.authority.server import Authority
from worker.authority.serving import first_workspace
from worker.authority.store import Store
from worker.cli import access_key as access_keys
from worker.cli import authority, client
from worker.errors import ConfigError, SinkUnavailable
from worker.region import Region


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    """A new store of an authority."""
    authority = Authority(Region("eu-central-1"), tmp_path / "data", bytes(32), "http://127.0.0.1/")
    yield authority.store
    authority.close()


def test_a_new_store_needs_a_place_for_its_admin_key(empty: Store, tmp_path: Path) -> None:
    """The first admin key is made once and only where it can be kept."""
    with pytest.raises(ConfigError, match="admin-key-file"):
        first_workspace(empty, None)
    with pytest.raises(ConfigError, match="can't be written"):
        first_workspace(empty, tmp_path / "nowhere" / "admin.env")
    with no_room(), pytest.raises(SinkUnavailable, match="make room"):
        first_workspace(empty, tmp_path / "admin.env")
    assert (empty.state.workspaces, [*tmp_path.glob("admin*")]) == ({}, [])

    first_workspace(empty, tmp_path / "admin.env")
    made = read_env(tmp_path / "admin.env")
    first_workspace(empty, tmp_path / "second.env")

    assert [f"CSAK{key}" for key in empty.state.access_keys] == [made["CS_ADMIN_ACCESS_KEY"].partition(".")[0]]
    assert not (tmp_path / "second.env").exists()


def test_a_workspace_that_a_crash_left_without_an_admin_gets_one(empty: Store, tmp_path: Path) -> None:
    """The key was not made when the process ended: the next start makes it, and no second workspace."""
    workspace = new_workspace(empty, "first")

    first_workspace(empty, tmp_path / "admin.env")

    assert [row["workspace"] for row in empty.state.access_keys.values()] == [workspace]
    assert [*empty.state.workspaces] == [workspace]


def test_two_replicas_that_start_at_once_make_one_workspace(empty: Store) -> None:
    new_workspace(empty, "first", alone=True)

    with pytest.raises(Refusal, match="faster"):
        new_workspace(empty, "first", alone=True)


KEPT: dict[str, tuple[typer.Typer, list[str]]] = {
    "access-key create": (access_keys.app, ["create", "new", "--role", "auditor", "--env-file"]),
    "client rotate": (client.app, ["rotate", "new", "--region", "eu-central-1", "--env-file"]),
    "client propose": (client.app, ["create", "new", "--region", "eu-central-1", "--via", "--proposal"]),
}


@pytest.mark.parametrize("command", KEPT)
def test_nothing_is_made_whose_secret_has_no_place(dev: DevAuthority, tmp_path: Path, command: str) -> None:
    """An unwritable directory, or a full disk, is told before there is anything to lose."""
    app, arguments = KEPT[command]
    before = dev.authority.store.head.version

    for path, error in ((tmp_path / "nowhere" / "file", ConfigError), (tmp_path / "file", SinkUnavailable)):
        with no_room():
            done = CliRunner().invoke(app, [*arguments, str(path)], env=dev.env)
        assert isinstance(done.exception, error), (done.output, done.exception)

    assert dev.authority.store.head.version == before
    assert [*tmp_path.iterdir()] == []


def test_half_of_a_value_is_not_erased(own: DevAuthority, tmp_path: Path) -> None:
    """A file's lines end at line feeds: another break is part of a value; a mark at the beginning is none of it."""
    own.admin("create-keyset", {"name": "people", "description": "people", "erasable": True})
    (tmp_path / "values").write_bytes("id=4\u20282\nid=7\r\n".encode("utf-8-sig"))

    done = CliRunner().invoke(
        authority.app, ["erase", "--keyset", "people", "--from", str(tmp_path / "values"), "--yes"], env=own.env
    )

    assert done.exit_code == 0, (done.output, done.exception)
    people = {"keyset_id": {"Name": "people"}, "values": [["id", "4"], ["id", "4\u20282"], ["id", "7"]]}
    assert [each["state"] for each in own.admin("api/erased", people)["values"]] == ["kept", "refused", "refused"]


def test_a_file_of_values_that_is_no_text_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "values").write_bytes(b"\xff\xfe\x00")
    arguments = [
        "erase",
        "--keyset",
        "people",
        "--from",
        str(tmp_path / "values"),
        "--yes",
        "--url",
        "http://127.0.0.1/",
    ]

    done = CliRunner().invoke(authority.app, [*arguments, "--access-key", "x"])

    assert isinstance(done.exception, ConfigError)
    assert "--from" in str(done.exception)
