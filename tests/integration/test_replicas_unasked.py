"""A replica that nobody asks: it knows all the same what the others have written, wherever that decides something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pyrage
import pytest
from sqlalchemy import update

from tests.conftest import DatabaseFactory
from tests.integration.test_replicas import ROOT, Replica
from tests.unit.authority.erasure.conftest import key_service_in
from worker.authority import schema, wire
from worker.authority.access import Caller
from worker.authority.erasing import Erasing
from worker.authority.erasure.epochs import Epochs
from worker.authority.erasure.keyholder import CommandKeys
from worker.authority.erasure.subjects import Subjects
from worker.authority.escrow import ServerMadeClients
from worker.authority.head import TamperedStore
from worker.authority.keysets import Keysets
from worker.authority.management import new_workspace
from worker.authority.recovery.backup import read_backup, write_backup
from worker.authority.rights import Rights, whole
from worker.authority.seal import Sealer
from worker.authority.store import Store
from worker.region import Region

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
EU = Region("eu-central-1")


def url_of(dsn: str) -> str:
    return dsn.replace("postgresql://", "postgresql+psycopg://", 1)


@dataclass
class Pair:
    """Two replicas' stores over one database, and the command that keeps keys outside of it."""

    one: Store
    other: Store
    keys: CommandKeys
    admin: Caller


@pytest.fixture
def pair(new_database: DatabaseFactory, tmp_path: Path) -> Iterator[Pair]:
    url = url_of(new_database())
    one = Store(url, EU, Sealer(ROOT))
    workspace = new_workspace(one, "shared")
    other = Store(url, EU, Sealer(ROOT))
    keys = CommandKeys(key_service_in(tmp_path).command)
    yield Pair(one, other, keys, Caller(workspace, "CS|ann", Rights(whole("admin")), None, {}))
    one.close()
    other.close()


def test_what_another_erased_is_gone_with_the_next_epoch(pair: Pair) -> None:
    """The replica that ends epochs ends one in which it was not asked for anything."""
    at_one, at_other = Epochs(pair.one, pair.keys), Epochs(pair.other, pair.keys)
    made = wire.CreateKeyset(name="people", description="people", erasable=True)
    Keysets(pair.one, ServerMadeClients(pair.one, None), at_one).create(pair.admin, made)
    people = wire.Erase(keyset_id=wire.ByName(Name="people"), values=[("id", "1")])
    Erasing(pair.one, at_one).erase(pair.admin, people)

    told = at_other.move(lambda _what: None)

    assert (told["moved"], len(told["destroyed"])) == (True, 1)


def test_a_backup_is_of_the_newest_version(pair: Pair, tmp_path: Path) -> None:
    """What another replica has written is in the backup of one that nobody has asked since."""
    identity, path = pyrage.x25519.Identity.generate(), tmp_path / "identity"
    path.write_text(str(identity))
    later = new_workspace(pair.one, "later")

    data = write_backup(pair.other, [str(identity.to_public())], Subjects(pair.other, Epochs(pair.other, None)))

    assert later in read_backup(data, path).tables["workspaces"]


def test_readiness_says_what_holds_now(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """A store that was unlocked elsewhere is ready here, and one that can't be reached is not; nothing else asked."""
    dsn = new_database()
    replica = Replica(tmp_path / "replica", dsn)
    elsewhere = Store(url_of(dsn), EU, Sealer(ROOT))
    try:
        told = []
        for lock in (lambda _: ("ab",), lambda _: ()):
            elsewhere.write(lambda _transaction: None, lock=lock)
            told.append(httpx.get(f"{replica.url}readyz", timeout=20).json()["store"])
        with psycopg.connect(dsn) as connection:
            connection.execute("ALTER TABLE meta RENAME TO away")
        told.append(httpx.get(f"{replica.url}readyz", timeout=20).json()["store"])
        with psycopg.connect(dsn) as connection:
            connection.execute("ALTER TABLE away RENAME TO meta")
        told.append(httpx.get(f"{replica.url}readyz", timeout=20).json()["store"])
    finally:
        elsewhere.close()
        replica.stop()

    assert told == ["restored and locked", "ok", "can't be reached", "ok"]


@pytest.mark.parametrize("row", ["{", "[]", '["else", "x"]', '["workspaces", {}]', '["grants", "x"]', "7"])
def test_a_list_of_changes_that_somebody_altered_is_not_believed(pair: Pair, row: str) -> None:
    """Everything is read anew, and counted against the head: what another wrote is there, and nothing else."""
    later = new_workspace(pair.one, "later")
    with pair.one._engine.begin() as connection:
        one_of_them = (schema.changes.c.version > 2) & schema.changes.c.row.contains("keysets")
        assert connection.execute(update(schema.changes).where(one_of_them).values(row=row)).rowcount == 1

    pair.other.refresh()

    assert later in pair.other.state.workspaces


@pytest.mark.parametrize("head", ["x", "00"])
def test_a_head_that_nobody_wrote_stops_a_replica(pair: Pair, head: str) -> None:
    """It says so, and goes on saying so."""
    with pair.one._engine.begin() as connection:
        connection.execute(update(schema.meta).where(schema.meta.c.name == "head").values(value=head))

    with pytest.raises(TamperedStore, match="head"):
        pair.other.refresh()

    assert pair.other.broken is not None


def test_two_unlock_at_the_same_moment(pair: Pair) -> None:
    """Each at another replica that has not seen the other's: both are done with."""
    pair.one.write(lambda _transaction: None, lock=lambda _lock: ("ann", "bob"))
    pair.other.refresh()

    pair.one.write(lambda _transaction: None, lock=lambda now: tuple(each for each in now if each != "ann"))
    pair.other.write(lambda _transaction: None, lock=lambda now: tuple(each for each in now if each != "bob"))

    assert pair.other.head.lock == ()
