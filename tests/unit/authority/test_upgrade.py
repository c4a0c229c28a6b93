"""A store that the version before access keys had one client wrote goes on."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect

from tests.unit.authority.conftest import Party
from worker.authority import schema
from worker.authority.dev import DevAuthority, write_env
from worker.authority.remote import Remote
from worker.errors import KeyAccessDenied
from worker.zerokms.derive import ClientKey

STORES = Path(__file__).with_name("stores")
OLD: dict[str, Any] = json.loads((STORES / "v0002.json").read_text())


def restored(directory: Path) -> Path:
    """The old version's data directory, its files as open as they were."""
    directory.mkdir()
    connection = sqlite3.connect(directory / "authority.sqlite")
    connection.executescript((STORES / "v0002.sql").read_text())
    connection.close()
    (directory / "root.key").write_text(OLD["root_key"])
    (directory / "root.key").chmod(0o600)
    (directory / "audit.jsonl").write_text("\n".join(OLD["audit"]) + "\n")
    return directory


@pytest.fixture
def old(tmp_path: Path) -> Iterator[DevAuthority]:
    """The old store, served by this version; `dev` alone knows its own two access keys' clients."""
    directory = restored(tmp_path / "old")
    write_env(directory / "credentials.env", OLD["env"])
    with DevAuthority("eu-central-1", directory) as running:
        yield running


@pytest.fixture
def named(old: DevAuthority) -> Callable[[str, str], Party]:
    """A client with one of the old store's access keys."""
    env = OLD["env"]

    def made(name: str, suffix: str = "") -> Party:
        key = OLD["access_keys"][name]
        return Party(old.url, key, env[f"CS_CLIENT_ID{suffix}"], env[f"CS_CLIENT_KEY{suffix}"])

    return made


def test_what_was_written_before_opens(old: DevAuthority) -> None:
    """Both clients get the same data keys again, locked ones included."""
    env = old.env
    first, second = (
        Party(old.url, env[f"CS_CLIENT_ACCESS_KEY{s}"], env[f"CS_CLIENT_ID{s}"], env[f"CS_CLIENT_KEY{s}"])
        for s in ("", "_2")
    )
    plain, granted, locked = OLD["kept"]

    assert second.retrieve(plain["item"]).hex() == plain["key"]
    assert first.retrieve(granted["item"], granted["keyset"]).hex() == granted["key"]
    assert first.retrieve(locked["item"]).hex() == locked["key"]
    with pytest.raises(KeyAccessDenied, match="disabled"):
        first.generate(keyset={"Name": "eu/off"})


def test_a_key_that_was_bound_to_one_client_goes_on(named: Callable[..., Party]) -> None:
    """Its client is the one that it had."""
    named("bound").generate()
    with pytest.raises(KeyAccessDenied, match="another client"):
        named("bound", "_2").generate()


@pytest.mark.parametrize("name", ["several", "unbound"])
def test_a_key_with_no_client_or_several_derives_once_it_is_bound(
    old: DevAuthority, named: Callable[..., Party], name: str
) -> None:
    """Until then it is refused and told what to do; afterwards it goes on, for that client alone."""
    with pytest.raises(KeyAccessDenied, match="access-key bind"):
        named(name).generate()

    old.admin("api/access-keys/bind", {"keyName": name, "client": OLD["env"]["CS_CLIENT_ID"]})

    assert named(name).retrieve(OLD["kept"][0]["item"]).hex() == OLD["kept"][0]["key"]
    with pytest.raises(KeyAccessDenied, match="another client"):
        named(name, "_2").generate()


def test_an_admin_s_key_is_all_of_an_admin_and_a_narrowed_one_is_not(old: DevAuthority) -> None:
    """What had the whole role has the whole role of today; what was narrowed stays so."""
    assert old.admin("api/memberships", None, "GET") == [
        {"id": old.admin("api/memberships", None, "GET")[0]["id"], "subject": "CS|ann", "role": "control"}
        | {"client": None, "keysets": None}
    ]
    narrowed = Remote(old.url, OLD["access_keys"]["narrowed"])
    assert narrowed("list-clients", {})
    with pytest.raises(KeyAccessDenied, match="membership:create"):
        narrowed("api/memberships", {"subject": "CS|me", "role": "admin"})


def test_the_old_trail_is_kept_and_named(old: DevAuthority) -> None:
    """Lines from before the chain are put aside whole, and the chain's first line has their hash."""
    first = json.loads(old.audit_path.read_text().splitlines()[0])
    aside = old.audit_path.with_name(first["before"]["name"])

    assert aside.read_text().splitlines() == OLD["audit"]


def test_old_options_are_refused_by_their_new_name(old: DevAuthority) -> None:
    """A body with `clients` is told of `client`."""
    with pytest.raises(KeyAccessDenied, match="say client, one id"):
        old.admin("api/access-keys", {"keyName": "x", "role": "member", "clients": [OLD["env"]["CS_CLIENT_ID"]]})


def test_a_migrated_store_has_the_tables_of_a_new_one(old: DevAuthority, own: DevAuthority) -> None:
    """Tables, columns and what may be null are the same, whichever way they came."""

    def shape(directory: Path) -> dict[str, set[tuple[str, bool]]]:
        engine = create_engine(f"sqlite:///{directory / 'authority.sqlite'}")
        found = inspect(engine)
        tables = {t: {(c["name"], c["nullable"]) for c in found.get_columns(t)} for t in found.get_table_names()}
        engine.dispose()
        return tables

    declared = {t.name: {(c.name, bool(c.nullable)) for c in t.columns} for t in schema.metadata.tables.values()}
    migrated = shape(old.audit_path.parent)
    assert migrated == shape(own.audit_path.parent)
    assert {name: migrated[name] for name in declared} == declared


def test_a_key_never_lies_under_the_root_key_any_more(old: DevAuthority) -> None:
    """Everything that the root key itself sealed has been sealed anew under the store's own key."""
    root = bytes.fromhex(OLD["root_key"])
    from worker.authority.seal import Sealer
    from worker.errors import ConfigError

    for keyset in old.authority.store.state.keysets.values():
        with pytest.raises(ConfigError):
            Sealer(root).open(keyset["secrets"], what=f"keyset/{keyset['id']}")
    assert ClientKey.parse(OLD["env"]["CS_CLIENT_KEY"]).to_cbor() not in base64.b64encode(root)
