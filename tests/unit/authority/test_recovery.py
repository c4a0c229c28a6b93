"""A lost store comes back from a backup and the journal: all of its data, nothing that was revoked, and not twice."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyrage
import pytest
from typer.testing import CliRunner

from tests.disk import no_room
from tests.unit.authority.conftest import Party, party
from worker.authority.dev import DevAuthority
from worker.authority.seal import root_from_file
from worker.authority.server import AuthorityOptions
from worker.cli import authority as command
from worker.cli.failures import of_environment
from worker.errors import (
    ConfigError,
    FatalError,
    KeyAccessDenied,
    KeyServiceUnavailable,
    RegionViolation,
    SinkUnavailable,
)
from worker.model import Audit, KeySpec
from worker.zerokms.factory import client_from_environment

LATER = {"Name": "eu/later"}


@dataclass
class Lost:
    """What is left of an authority whose host is gone, and what was written under it."""

    place: Path
    old: Path
    env: dict[str, str]
    kept: list[tuple[str, dict[str, Any], Any, bytes]]

    @property
    def options(self) -> list[str]:
        names = {"--identity": "identity", "--journal": "journal", "--anchor": "anchor", "--root-key-file": "root.key"}
        return [text for name, file in names.items() for text in (name, str(self.place / file))]

    def restore(self, *more: str, region: str = "eu-central-1") -> Any:
        data = self.place / "new"
        arguments = ["restore", str(self.place / "backup"), "--region", region, "--data", str(data)]
        return CliRunner().invoke(command.app, [*arguments, *self.options, *more])

    def start(self, port: int = 0) -> DevAuthority:
        for name in ("root.key", "credentials.env"):
            shutil.copy(self.old / name, self.place / "new" / name)
        return DevAuthority("eu-central-1", self.place / "new", port)


@pytest.fixture
def lost(lost_once: Lost, tmp_path: Path) -> Lost:
    """Backed up while it served; then keysets, grants and every kind of revocation; then the host was gone."""
    shutil.copytree(lost_once.place, tmp_path, dirs_exist_ok=True)
    return replace(lost_once, place=tmp_path, old=tmp_path / "old", env=dict(lost_once.env))


@pytest.fixture(scope="module")
def lost_once(tmp_path_factory: pytest.TempPathFactory) -> Lost:
    """The same for all: each has a copy."""
    tmp_path = tmp_path_factory.mktemp("lost")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"# an age identity\n{identity}\n")
    old = tmp_path / "old"
    kept: list[tuple[Any, ...]] = []
    with DevAuthority(
        "eu-central-1", old, options=AuthorityOptions(journal=tmp_path / "journal", anchor=tmp_path / "anchor")
    ) as own:
        own.create_keyset("eu/off")
        own.grant(own.env["CS_CLIENT_ID"], "eu/off")
        own.admin("api/subjects/block", {"subject": "CS|let in"})
        kept.append(("", *party(own).generate(), None))
        backup = ["backup", "--recipient", str(identity.to_public()), "--output", str(tmp_path / "backup")]
        done = CliRunner().invoke(command.app, backup, env=own.env, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        own.create_keyset("eu/later")
        own.grant(own.env["CS_CLIENT_ID"], "eu/later")
        kept.append(("", *party(own).generate(keyset=LATER), LATER))
        own.disable_keyset("eu/off")
        own.delete_client(own.env["CS_CLIENT_ID_2"])
        own.admin("api/subjects/block", {"subject": "CS|eve"})
        own.admin("api/subjects/unblock", {"subject": "CS|let in"})
        env = dict(own.env)
    shutil.copy(old / "root.key", tmp_path / "root.key")
    return Lost(tmp_path, old, env, [(s, item, keyset, key) for s, item, key, keyset in kept])


def credentials(output: str) -> list[str]:
    return [line.split(": ")[1] for line in output.splitlines() if line.startswith("  ")]


def test_everything_comes_back_and_nothing_that_was_revoked(lost: Lost) -> None:
    """Old and later data open, what was deleted, disabled or blocked stays so, and until then nobody is answered."""
    done = lost.restore("--person", "ann", "--person", "bob")
    assert done.exit_code == 0, done.output
    with lost.start() as own:
        with pytest.raises(KeyServiceUnavailable, match="locked"):
            party(own).generate()
        for step, credential in enumerate(("a guess that is wrong", *credentials(done.output))):
            shown = CliRunner().invoke(command.app, ["unlock", "--url", own.url, "--credential", credential])
            assert isinstance(shown.exception, KeyAccessDenied) if not step else shown.exit_code == 0, shown.output
            if step < 2:
                with pytest.raises(KeyServiceUnavailable, match="locked"):
                    party(own).generate()
        for suffix, item, keyset, key in lost.kept:
            assert party(own, suffix).retrieve(item, keyset) == key
        with pytest.raises(KeyAccessDenied, match="404"):
            party(own, "_2").generate()
        with pytest.raises(KeyAccessDenied, match="disabled"):
            party(own).generate(keyset={"Name": "eu/off"})
        assert own.admin("api/subjects/blocked", None, "GET") == [{"subject": "CS|eve"}]
        again = CliRunner().invoke(command.app, ["unlock", "--url", own.url, "--credential", credential])
        assert isinstance(again.exception, KeyAccessDenied)


def test_the_old_authority_that_comes_back_is_refused(lost: Lost) -> None:
    """A client that the restored one has answered does not go back to the one before it."""
    done = lost.restore()
    with lost.start() as own:
        port = urlsplit(own.url).port or 0
        own_env = {**lost.env, "CS_CTS_HOST": own.url, "CS_ZEROKMS_HOST": own.url}
        (credential,) = credentials(done.output)
        CliRunner().invoke(command.app, ["unlock", "--url", own.url, "--credential", credential])
        client = client_from_environment(own_env, allow_hosts=(urlsplit(own.url).netloc,))
        client.generate([KeySpec(None, "a/b")], Audit("test"))
    with client, DevAuthority("eu-central-1", lost.old, port), pytest.raises(RegionViolation, match="incarnation"):
        client.generate([KeySpec(None, "a/b")], Audit("test"))


def test_a_drill_proves_a_backup_and_prints_how_long_it_took(lost: Lost) -> None:
    """Every keyset gives what it gave; nothing of the drill is left."""
    arguments = ["drill", str(lost.place / "backup"), "--region", "eu-central-1", *lost.options]
    done = CliRunner().invoke(command.app, arguments)

    found = json.loads(done.output)
    assert (done.exit_code, found["wrong"], found["keysets"], found["clients"]) == (0, [], 3, 1)
    assert found["recovery_s"] > 0


def cut(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))


def hole(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:-3], *lines[-2:]]))


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))


DAMAGE: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "journal cut short": ("journal", cut),
    "journal with a hole": ("journal", hole),
    "journal altered": ("journal", flipped),
    "journal gone": ("journal", lambda path: path.write_bytes(b"")),
    "backup cut short": ("backup", lambda path: path.write_bytes(path.read_bytes()[:-40])),
    "backup altered": ("backup", flipped),
    "anchor empty": ("anchor", lambda path: path.write_bytes(b"")),
    "another root key": ("root.key", lambda path: path.write_text("ab" * 32)),
    "another identity": ("identity", lambda path: path.write_text(str(pyrage.x25519.Identity.generate()))),
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.replace(" ", "_"))
def test_what_is_not_whole_is_refused_whole(lost: Lost, damage: str) -> None:
    """A journal that ends before the anchor, an altered or cut backup, another's key: no store is made."""
    name, act = DAMAGE[damage]
    act(lost.place / name)

    done = lost.restore()

    assert isinstance(done.exception, (ConfigError, FatalError)), done.output
    assert not (lost.place / "new" / "authority.sqlite").exists()


def forged(lost: Lost, alter: Callable[[list[bytes]], list[bytes]]) -> None:
    """Write the backup anew as whoever knows its recipient can, which is no secret."""
    identity = pyrage.x25519.Identity.from_str((lost.place / "identity").read_text().splitlines()[1])
    opened = pyrage.decrypt((lost.place / "backup").read_bytes(), [identity])
    data = b"".join(alter(opened.splitlines(keepends=True)))
    (lost.place / "backup").write_bytes(pyrage.encrypt(data, [identity.to_public()]))


def recounted(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], json.dumps({"rows": len(lines) - 2}).encode()]


def without(lines: list[bytes], table: str) -> list[bytes]:
    at = next(number for number, line in enumerate(lines) if line.startswith(f'["{table}"'.encode()))
    return recounted([*lines[:at], *lines[at + 1 :]])


def headed(lines: list[bytes], **said: Any) -> list[bytes]:
    return [json.dumps(json.loads(lines[0]) | said).encode() + b"\n", *lines[1:]]


FORGED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "nothing": lambda _: [],
    "one line": lambda lines: lines[:1],
    "no json": lambda lines: [b"\xff\n", *lines[1:]],
    "a list": lambda lines: [b"[]\n", *lines[1:]],
    "no region": lambda lines: [lines[0].replace(b'"region"', b'"r"'), *lines[1:]],
    "no hex": lambda lines: headed(lines, meta={"key": "x", "head": "y"}),
    "no meta": lambda lines: headed(lines, meta=None),
    "an unknown table": lambda lines: recounted([*lines[:-1], b'["else",{}]\n', lines[-1]]),
    "half a row": lambda lines: recounted([*lines[:-1], b'["grants",{"client":"x"}]\n', lines[-1]]),
    "a row of lists": lambda lines: recounted([*lines[:-1], b'["blocked_subjects",[]]\n', lines[-1]]),
    "no revocation": lambda lines: without(lines, "blocked_subjects"),
    "a role more": lambda lines: [line.replace(b'"role":"member"', b'"role":"admin"') for line in lines],
    "a key to ask for": lambda lines: headed(lines, trees="--all"),
}


@pytest.mark.parametrize("alter", FORGED.values(), ids=[name.replace(" ", "_") for name in FORGED])
def test_a_backup_that_somebody_else_wrote_is_refused(lost: Lost, alter: Callable[[list[bytes]], list[bytes]]) -> None:
    """In words, and no store is made: not one row more, less or else, and no key command runs by its word."""
    forged(lost, alter)

    done = lost.restore("--epoch-key-command", "false")

    assert isinstance(done.exception, (ConfigError, FatalError)), done.output
    assert not (lost.place / "new" / "authority.sqlite").exists()


def test_another_authority_s_anchor_does_not_say_how_far_this_one_had_come(lost: Lost) -> None:
    """With it a journal that ends early would do, and what was revoked since would be in force again."""
    cut(lost.place / "journal")
    with DevAuthority(
        "eu-central-1", lost.place / "foreign", options=AuthorityOptions(anchor=lost.place / "anchor of another")
    ):
        pass
    shutil.copy(lost.place / "anchor of another", lost.place / "anchor")

    done = lost.restore()

    assert "is it another one's?" in str(done.exception)


def test_the_newest_of_all_replicas_anchors_says_how_far_the_journal_must_reach(lost: Lost) -> None:
    """One that was not asked for long has seen less: with its anchor alone a journal that ends early would do."""
    cut(lost.place / "journal")
    heads = (lost.place / "anchor").read_bytes().splitlines(keepends=True)
    old = min(heads, key=lambda line: json.loads(line)["version"])
    idle = json.loads(old) | {"version": 1}
    (lost.place / "idle").write_text(json.dumps(idle) + "\n")

    done = lost.restore("--anchor", str(lost.place / "idle"))

    assert "the anchor has seen" in str(done.exception)


def test_a_journal_that_is_not_there_is_told_in_words(lost: Lost) -> None:
    (lost.place / "journal").unlink()

    told = of_environment(lost.restore().exception or Exception())

    assert isinstance(told, ConfigError)
    assert "journal" in str(told)


def test_a_line_that_a_full_disk_cut_short_is_none_of_the_anchor_s(lost: Lost) -> None:
    """The store comes back by the others, and a journal that ends before these is refused all the same."""
    with (lost.place / "anchor").open("ab") as file:
        file.write(b'{"chain":"0')
    shutil.copy(lost.place / "journal", lost.place / "whole")
    cut(lost.place / "journal")
    assert "the anchor has seen" in str(lost.restore().exception)
    shutil.move(lost.place / "whole", lost.place / "journal")

    assert lost.restore().exit_code == 0


def test_another_region_refuses_the_backup(lost: Lost) -> None:
    """A backup is restored in its own region."""
    assert isinstance(lost.restore(region="ap-southeast-2").exception, RegionViolation)


def test_a_backup_is_restored_to_where_no_store_is(lost: Lost) -> None:
    """An existing store is not written over."""
    assert lost.restore().exit_code == 0

    again = lost.restore()

    assert isinstance(again.exception, ConfigError)
    assert "exists" in str(again.exception)


def test_a_restore_that_a_crash_or_a_full_disk_ended_is_done_again(lost: Lost) -> None:
    """What is left of it is no store, for nobody, and is in no other's way."""
    (lost.place / "new").mkdir()
    for name in ("authority.part", "authority.part-wal"):
        (lost.place / "new" / name).write_bytes(b"half")
    with no_room(64 * 1024):
        assert isinstance(of_environment(lost.restore().exception or Exception()), SinkUnavailable)
    assert not (lost.place / "new" / "authority.sqlite").exists()

    assert lost.restore().exit_code == 0

    assert not [*(lost.place / "new").glob("authority.part*")]
    assert stat.S_IMODE((lost.place / "new" / "authority.sqlite").stat().st_mode) == 0o600


def test_each_incarnation_s_heads_are_verified_by_its_own_key(lost: Lost) -> None:
    """An anchor that goes on over a restore has heads of both; a third key is nobody's."""
    assert lost.restore().exit_code == 0
    for name in ("root.key", "credentials.env"):
        shutil.copy(lost.old / name, lost.place / "new" / name)
    options = AuthorityOptions(anchor=lost.place / "anchor")
    keys = []
    for directory in (lost.old, lost.place / "new"):
        with DevAuthority("eu-central-1", directory, options=options) as own:
            keys.append(base64.b64encode(own.authority.trail.public_key).decode())
    told = [str(lost.old), str(lost.place / "new"), "--anchor", str(lost.place / "anchor")]

    def verified(*given: str) -> Any:
        return CliRunner().invoke(command.app, ["audit", "verify", *told, *(t for k in given for t in ("--key", k))])

    assert verified(*keys).exit_code == 0, verified(*keys).output
    for one in keys:
        assert "each restore begins an incarnation with a key of its own" in str(verified(one).exception)


def test_a_stolen_backup_has_no_secret_in_the_clear(lost: Lost) -> None:
    """With the age identity too, without the root key nothing opens; names are there, keys are not."""
    identity = pyrage.x25519.Identity.from_str((lost.place / "identity").read_text().splitlines()[1])
    opened = pyrage.decrypt((lost.place / "backup").read_bytes(), [identity])

    assert b"eu/off" in opened
    root = root_from_file(lost.place / "root.key")
    assert root not in opened
    assert root.hex().encode() not in opened
    for suffix in ("", "_2"):
        assert bytes.fromhex(lost.env[f"CS_CLIENT_KEY{suffix}"])[20:] not in opened
        assert lost.env[f"CS_CLIENT_ACCESS_KEY{suffix}"].partition(".")[2].encode() not in opened


def test_nothing_changes_without_the_journal(own: DevAuthority, tmp_path: Path) -> None:
    """A keyset that the journal could not take does not exist, so it gives no key that a restore would lose."""
    own.stop()
    with DevAuthority(
        "eu-central-1", own.audit_path.parent, options=AuthorityOptions(journal=tmp_path / "journal")
    ) as again:
        full = os.open("/dev/full", os.O_WRONLY)
        assert again.authority.journal is not None
        os.dup2(full, again.authority.journal.descriptor)
        os.close(full)
        with pytest.raises(KeyServiceUnavailable, match="journal"):
            again.create_keyset("eu/unsafe")
        made: Party = party(again)
        with pytest.raises(KeyAccessDenied, match="404"):
            made.generate(keyset={"Name": "eu/unsafe"})
