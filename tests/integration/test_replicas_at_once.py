"""Two replicas that decide at the same moment: the second by what the first has written, whatever it knew."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from tests.authorities import until
from tests.conftest import DatabaseFactory
from tests.integration.test_replicas import ROOT
from tests.integration.test_replicas_unasked import EU, url_of
from worker.authority import database, schema, wire
from worker.authority.access import Caller
from worker.authority.clients import Clients
from worker.authority.head import Head
from worker.authority.management import new_workspace
from worker.authority.recovery.journal import Journal, read_journal
from worker.authority.refusal import Refusal
from worker.authority.rights import Rights, whole
from worker.authority.seal import Sealer
from worker.authority.state import Changed
from worker.authority.store import Row, Store
from worker.authority.transaction import Transaction

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@dataclass
class Pair:
    """Two replicas' stores over one database; the other one knows the two clients, and is not asked again."""

    one: Store
    other: Store
    admin: Caller
    clients: list[UUID]
    dsn: str


@pytest.fixture
def pair(new_database: DatabaseFactory) -> Iterator[Pair]:
    dsn = new_database()
    one = Store(url_of(dsn), EU, Sealer(ROOT))
    workspace = new_workspace(one, "shared")
    clients = [uuid4(), uuid4()]
    keyset = next(iter(one.state.keysets))
    for name, client in zip(("first", "second"), clients, strict=True):
        row: Row = {
            "id": str(client),
            "workspace": workspace,
            "name": name,
            "description": "",
            "default_keyset": keyset,
        }
        row |= {"region": str(EU), "relation": b"", "state": "active", "created_by": "CS|ann"}
        one.write(partial(_insert, row))
    other = Store(url_of(dsn), EU, Sealer(ROOT))
    pair = Pair(one, other, Caller(workspace, "CS|ann", Rights(whole("admin")), None, {}), clients, dsn)
    yield pair
    one.close()
    # A test may have put another one in its place.
    pair.other.close()


def _insert(row: Row, transaction: Transaction) -> None:
    transaction.insert(schema.clients, row)


def test_two_deletions_do_not_take_the_last_two_clients(pair: Pair) -> None:
    """Each leaves the other's, as far as it knows: together they would lose everything that was ever encrypted."""
    Clients(pair.one).delete(pair.admin, wire.DeleteClient(client_id=pair.clients[0]))

    with pytest.raises(Refusal, match="the workspace's last client"):
        Clients(pair.other).delete(pair.admin, wire.DeleteClient(client_id=pair.clients[1]))

    assert [*pair.other.state.clients] == [str(pair.clients[1])]


def test_a_grant_that_another_made_goes_with_its_client(pair: Pair) -> None:
    """A replica that has not seen the grant deletes the client all the same."""
    place = {"client": str(pair.clients[0]), "keyset": next(iter(pair.one.state.keysets)), "share": b""}
    pair.one.write(lambda t: t.insert(schema.grants, place))

    Clients(pair.other).delete(pair.admin, wire.DeleteClient(client_id=pair.clients[0]))

    assert pair.other.state.grants == {}


def test_who_stood_still_within_a_write_does_not_journal_over_another_s(pair: Pair, tmp_path: Path) -> None:
    """
    Its session ends while it stands still, another writes that version, and it wakes up.

    A restore takes the later of two lines of one version: it would bring back what the other one has revoked.
    """
    secret, held, woken = pair.one.derived(b"journal"), threading.Event(), threading.Event()
    journals = [Journal(tmp_path / "journal", secret) for _ in range(2)]

    def standing_still(head: Head, changes: Sequence[Changed], still: Callable[[], object]) -> None:
        held.set()
        assert woken.wait(30)
        journals[0].append(head, changes, still)

    failed: list[BaseException] = []

    def write() -> None:
        try:
            block(pair.one, "CS|let in")
        except (SQLAlchemyError, Refusal) as exc:
            failed.append(exc)

    def block(store: Store, subject: str) -> None:
        row = {"workspace": pair.admin.workspace, "subject": subject}
        store.write(lambda t: t.insert(schema.blocked_subjects, row))

    pair.one.before_commit, pair.other.before_commit = standing_still, journals[1].append
    thread = threading.Thread(target=write)
    thread.start()
    assert held.wait(30)
    with psycopg.connect(pair.dsn, autocommit=True) as connection:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND "
        connection.execute(others + "datname = current_database() AND state = 'idle in transaction'")
    block(pair.other, "CS|eve")
    woken.set()
    thread.join(30)

    assert len(failed) == 1
    ((version, changes),) = read_journal(tmp_path / "journal", secret, 1, pair.other.head.version - 1)
    assert (version, [change.key[1] for change in changes]) == (pair.other.head.version, ["CS|eve"])
    for each in journals:
        each.close()


def test_nobody_who_looks_waits_for_a_write_that_stands_still(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another replica, or of its own whose journal hangs: keys go on. The write behind it ends, and says so."""
    monkeypatch.setattr(database, "_LOCK_S", 0.5)
    pair.other.close()
    pair.other = Store(url_of(pair.dsn), EU, Sealer(ROOT))
    held, woken = threading.Event(), threading.Event()

    def standing_still(_head: Head, _changes: Sequence[Changed], _still: Callable[[], object]) -> None:
        held.set()
        assert woken.wait(50)

    def block(store: Store) -> None:
        row = {"workspace": pair.admin.workspace, "subject": "CS|eve"}
        store.write(lambda t: t.insert(schema.blocked_subjects, row))

    pair.one.before_commit = standing_still
    with ThreadPoolExecutor(3) as threads, psycopg.connect(pair.dsn, autocommit=True) as connection:
        first = threads.submit(block, pair.one)
        assert held.wait(30)
        behind = threads.submit(block, pair.other)
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        until(lambda: connection.execute(waiting).fetchone() == (1,), "the other one's write waits")
        try:
            for store in (pair.one, pair.other):
                threads.submit(store.refresh).result(30)
            with pytest.raises(OperationalError, match="lock timeout"):
                behind.result(40)
        finally:
            woken.set()
        first.result(30)

    pair.other.refresh()
    assert pair.other.state.blocked.keys() == pair.one.state.blocked.keys() != set()
