"""Whoever administers the database gives themselves no rights: a row that the authority did not write stops it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.authority.conftest import access_key, existing, party
from tests.unit.authority.test_upgrade import OLD, restored
from worker.authority import schema
from worker.authority.dev import DevAuthority, write_env
from worker.authority.enrol import propose
from worker.authority.head import Head, TamperedStore
from worker.authority.seal import Sealer, root_from_file
from worker.authority.store import Store
from worker.errors import ConfigError, FatalError, KeyServiceUnavailable
from worker.region import Region

ACTS = {
    "role raised": "UPDATE access_keys SET role = 'admin' WHERE name = 'first'",
    "client taken off": "UPDATE access_keys SET client = NULL WHERE name = 'first'",
    "client exchanged": "UPDATE access_keys SET client = (SELECT id FROM clients WHERE name = 'second')",
    "secret exchanged": "UPDATE access_keys SET secret_hash = x'00' WHERE name = 'admin'",
    "scopes widened": "UPDATE access_keys SET scopes = NULL WHERE name = 'narrow'",
    "key added": "INSERT INTO access_keys (id, workspace, name, role, secret_hash, created_at) "
    "SELECT 'X', workspace, 'x', 'admin', x'00', 1.0 FROM access_keys WHERE name = 'admin'",
    "key removed": "DELETE FROM access_keys WHERE name = 'second'",
    "membership added": "INSERT INTO memberships SELECT 'm', id, 'CS|me', 'admin', NULL, NULL FROM workspaces",
    "member raised": "UPDATE memberships SET role = 'admin'",
    "provider's keys exchanged": "UPDATE oidc_providers SET jwks = '{\"keys\": []}'",
    "subject let in": "DELETE FROM blocked_subjects",
    "keyset enabled": "UPDATE keysets SET is_disabled = 0",
    "grant removed": "DELETE FROM grants WHERE client = (SELECT id FROM clients WHERE name = 'second')",
    "grant copied": "UPDATE grants SET share = (SELECT share FROM grants LIMIT 1)",
    "client activated": "UPDATE clients SET state = 'active' WHERE name = 'third'",
    "workspace begun anew": "UPDATE workspaces SET enrolled = 0",
    "signing key added": "INSERT INTO signing_keys SELECT 'k', sealed, 0 FROM signing_keys",
    "head of no hex": "UPDATE meta SET value = 'x' WHERE name = 'head'",
    "head of zeros": "UPDATE meta SET value = '00' WHERE name = 'head'",
    "head removed": "DELETE FROM meta WHERE name = 'head'",
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stopped authority's directory with a row in every table that authorises."""
    directory = tmp_path_factory.mktemp("tampering") / "data"
    with DevAuthority("eu-central-1", directory) as own:
        access_key(own, None, "admin", keyName="narrow", scopes=["client:list"])
        provider = {"issuer": "https://idp/", "vendor": "okta", "audience": "a", "jwks": {"keys": [{"kty": "oct"}]}}
        own.admin("api/oidc/providers", provider)
        own.admin("api/memberships", {"subject": "CS|ann", "role": "control"})
        own.admin("api/subjects/block", {"subject": "CS|eve"})
        own.create_keyset("off")
        own.disable_keyset("off")
        propose(own.admin, name="third", region="eu-central-1", via=existing(own))
    return directory


def opened(directory: Path) -> Store:
    root = root_from_file(directory / "root.key")
    return Store(directory / "authority.sqlite", Region("eu-central-1"), Sealer(root))


def altered(directory: Path, statement: str) -> int:
    connection = sqlite3.connect(directory / "authority.sqlite")
    count = connection.execute(statement).rowcount
    connection.commit()
    connection.close()
    return count


def test_the_store_opens_as_it_was_left(filled: Path, tmp_path: Path) -> None:
    """The control: a copy that nobody touched opens, and what only informs may be altered."""
    directory = shutil.copytree(filled, tmp_path / "copy")
    altered(directory, "UPDATE access_keys SET last_used_at = 1.0")

    opened(directory).close()


def test_a_head_says_nothing_of_a_later_table_that_is_empty(filled: Path, tmp_path: Path) -> None:
    """So a replica of before goes on beside a newer one; what has rows is said, and is found again."""
    store = opened(shutil.copytree(filled, tmp_path / "copy"))
    region, sums = str(store.region), dict(store.head.sums)
    plain = Head(1, 1, sums | {"erasures": 0}).seal(store.sealer, region)
    used = Head(1, 1, sums | {"erasures": 7}).seal(store.sealer, region)
    store.close()

    body = store.sealer.open(bytes.fromhex(plain), what=f"meta/head/{region}")
    assert set(json.loads(body)["sums"]) == schema.FIRST
    assert Head.open(plain, store.sealer, region).sums["erasures"] == 0
    assert Head.open(used, store.sealer, region).sums["erasures"] == 7


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.replace(" ", "_"))
def test_an_altered_row_stops_the_authority(filled: Path, tmp_path: Path, act: str) -> None:
    """Added, altered or removed: the authority does not start, and says which table it is."""
    directory = shutil.copytree(filled, tmp_path / "copy")
    assert altered(directory, ACTS[act]) >= 1

    with pytest.raises(TamperedStore, match=r"not (those|one) that the authority wrote|head is missing"):
        opened(directory)


@pytest.mark.parametrize("gone", ["'key', 'head'", "'key', 'head', 'region'", "'key'"])
def test_a_store_is_not_begun_anew_over_rows(filled: Path, tmp_path: Path, gone: str) -> None:
    """With its own key and head taken away and an admin put in, nothing is believed: it is no new store."""
    directory = shutil.copytree(filled, tmp_path / "copy")
    altered(directory, f"DELETE FROM meta WHERE name IN ({gone})")
    altered(directory, ACTS["key added"])

    with pytest.raises(TamperedStore, match="no key of its own"):
        opened(directory)


def test_a_store_from_before_it_had_a_key_does_not_come_back(tmp_path: Path) -> None:
    """Old rows authenticate nothing: once the store was migrated, a forged copy of the old one is refused."""
    directory = restored(tmp_path / "old")
    shutil.copy(directory / "authority.sqlite", tmp_path / "before")
    write_env(directory / "credentials.env", OLD["env"])
    with DevAuthority("eu-central-1", directory) as running:
        running.admin("api/access-key", {"keyName": "unbound"}, "DELETE")
    shutil.copy(tmp_path / "before", directory / "authority.sqlite")
    assert altered(directory, "UPDATE access_keys SET role = 'admin', scopes = '[]' WHERE name = 'unbound'") == 1

    with pytest.raises(TamperedStore, match="older store"):
        DevAuthority("eu-central-1", directory)


def test_a_row_put_back_stops_the_authority(own: DevAuthority) -> None:
    """A deleted access key's row, put back as it was, is no row of the store."""
    directory = own.audit_path.parent
    connection = sqlite3.connect(directory / "authority.sqlite")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(access_keys)")]
    row = connection.execute("SELECT * FROM access_keys WHERE name = 'second'").fetchone()
    connection.close()
    own.admin("api/access-key", {"keyName": "second"}, "DELETE")
    own.stop()
    connection = sqlite3.connect(directory / "authority.sqlite")
    connection.execute(f"INSERT INTO access_keys ({', '.join(columns)}) VALUES ({', '.join('?' * len(row))})", row)
    connection.commit()
    connection.close()

    with pytest.raises(TamperedStore, match="access_keys"):
        DevAuthority("eu-central-1", directory)


def test_a_whole_store_put_back_stops_the_authority(own: DevAuthority, tmp_path: Path) -> None:
    """An older copy of the whole store, under the trail that has seen a newer one, is refused: nothing comes back."""
    directory = own.audit_path.parent
    own.stop()
    shutil.copy(directory / "authority.sqlite", tmp_path / "older")
    with DevAuthority("eu-central-1", directory) as again:
        again.admin("api/access-key", {"keyName": "second"}, "DELETE")
        again.create_keyset("later")
    shutil.copy(tmp_path / "older", directory / "authority.sqlite")

    with pytest.raises(TamperedStore, match="older store"):
        DevAuthority("eu-central-1", directory)


@pytest.mark.parametrize("name", ["head", "key"])
def test_the_head_and_the_store_s_key_are_its_own(filled: Path, tmp_path: Path, name: str) -> None:
    """Another store's head or key under the same root key does not open this one's rows."""
    directory, other = shutil.copytree(filled, tmp_path / "copy"), tmp_path / "other"
    other.mkdir()
    shutil.copy(directory / "root.key", other / "root.key")
    opened(other).close()
    connection = sqlite3.connect(other / "authority.sqlite")
    (value,) = connection.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchone()
    connection.close()
    altered(directory, f"UPDATE meta SET value = '{value}' WHERE name = '{name}'")

    with pytest.raises((ConfigError, FatalError)):
        opened(directory)


@pytest.mark.parametrize(
    "act",
    [
        lambda own: own.disable_keyset("default"),
        lambda own: own.enable_keyset("default"),
    ],
)
def test_a_running_authority_stops_at_a_row_that_is_not_its_own(
    own: DevAuthority, act: Callable[[DevAuthority], None]
) -> None:
    """A write over a row that somebody else altered is refused, and from then on everything is."""
    altered(own.audit_path.parent, "UPDATE keysets SET name = 'mine'")

    with pytest.raises(KeyServiceUnavailable, match="503"):
        act(own)
    with pytest.raises(KeyServiceUnavailable, match="has stopped"):
        party(own).generate()
    with pytest.raises(KeyServiceUnavailable, match="keysets"):
        own.admin("readyz", None, "GET")
    assert json.loads(own.audit_path.read_text().splitlines()[-1])["outcome"] == "failed"
