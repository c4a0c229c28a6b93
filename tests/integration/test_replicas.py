"""Replicas of the authority over one PostgreSQL: what one is told holds on the other at its next request."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pyrage
import pytest

from tests.conftest import DatabaseFactory
from tests.unit.authority.conftest import Party
from worker.authority.enrol import Existing, accept, propose
from worker.authority.erasure.keyholder import KeyHolder
from worker.authority.management import Narrowing, make_access_key, new_workspace
from worker.authority.recovery.backup import write_backup
from worker.authority.recovery.restore import Anchored, Source, restore
from worker.authority.remote import Remote
from worker.authority.seal import Sealer
from worker.authority.server import Authority, AuthorityOptions, bind, server
from worker.errors import ConfigError, KeyAccessDenied, KeyServiceUnavailable
from worker.http_client import open_client
from worker.region import Region

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
ROOT = bytes(range(32))


class Replica:
    """One authority on a thread, over a database that it shares."""

    def __init__(self, directory: Path, database: str, root: bytes = ROOT, keys: KeyHolder | None = None) -> None:
        self._socket = bind("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        url = database.replace("postgresql://", "postgresql+psycopg://", 1)
        options = AuthorityOptions(audit_sync=False, database=url, keys=keys)
        self.authority = Authority(Region("eu-central-1"), directory, root, self.url, options)
        self._server = server(self.authority.app, self.authority.guard)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(15)
        self._socket.close()
        self.authority.close()


@dataclass
class Stand:
    """Two replicas, an admin at the first, and two clients with an access key each."""

    one: Replica
    two: Replica
    admin: Remote
    clients: list[tuple[str, str, str]]
    dsn: str

    def client(self, number: int, replica: Replica) -> Party:
        identity, key, access_key = self.clients[number]
        return Party(replica.url, access_key, identity, key)


@pytest.fixture
def stand(new_database: DatabaseFactory, tmp_path: Path) -> Iterator[Stand]:
    dsn = new_database()
    one, two = Replica(tmp_path / "one", dsn), Replica(tmp_path / "two", dsn)
    store = one.authority.store
    workspace = new_workspace(store, "shared")
    admin = Remote(one.url, make_access_key(store, workspace, "admin", "admin"))
    clients: list[tuple[str, str, str]] = []
    first: Existing | None = None
    for name in ("first", "second"):
        proposal = propose(admin, name=name, region="eu-central-1", via=first)
        client = str(proposal.client_id)
        admin("approve-client", {"client_id": client})
        access_key = make_access_key(store, workspace, name, "member", Narrowing(client=client))
        # The new client speaks to the other replica from its first word.
        own = Remote(two.url, access_key)
        key = accept(own, proposal)
        first = first or Existing(proposal.client_id, key, own)
        clients.append((client, key.to_hex(), access_key))
    yield Stand(one, two, admin, clients, dsn)
    one.stop()
    two.stop()


REVOCATIONS: dict[str, Callable[[Stand], Any]] = {
    "grant": lambda s: s.admin("revoke-keyset", {"client_id": s.clients[0][0], "keyset_id": {"Name": "default"}}),
    "keyset": lambda s: s.admin("disable-keyset", {"keyset_id": {"Name": "default"}}),
    "client": lambda s: s.admin("delete-client", {"client_id": s.clients[0][0]}),
    "access key": lambda s: s.admin("api/access-key", {"keyName": "first"}, "DELETE"),
}


@pytest.mark.parametrize("kind", REVOCATIONS)
def test_a_revocation_holds_on_the_other_replica_at_its_next_request(stand: Stand, kind: str) -> None:
    """No request that begins after the revocation was answered gets a key, whichever replica it goes to."""
    parties = [stand.client(0, replica) for replica in (stand.one, stand.two)]
    kept, key = parties[0].generate()
    assert parties[1].retrieve(kept) == key

    REVOCATIONS[kind](stand)

    for each in parties:
        with pytest.raises(KeyAccessDenied):
            each.retrieve(kept)
        with pytest.raises(KeyAccessDenied):
            each.generate()


def test_an_erasure_holds_on_the_other_replica_when_it_returns(stand: Stand) -> None:
    """What the other one had opened a moment ago serves nobody any more; other subjects go on there."""
    people = {"Name": "people"}
    stand.admin("create-keyset", {"name": "people", "description": "people", "erasable": True})
    stand.admin("grant-keyset", {"client_id": stand.clients[0][0], "keyset_id": people})
    one, two = stand.client(0, stand.one), stand.client(0, stand.two)
    kept = [one.generate(keyset=people, context=[{"Value": ["id", str(n)]}]) for n in range(2)]
    assert [two.retrieve(item, people) for item, _ in kept] == [key for _, key in kept]

    stand.admin("api/erase", {"keyset_id": people, "values": [["id", "0"]]})

    for each in (two, one):
        with pytest.raises(KeyAccessDenied, match="subject_erased"):
            each.retrieve(kept[0][0], people)
        assert each.retrieve(kept[1][0], people) == kept[1][1]


def test_a_scraper_s_access_key_holds_and_ends_on_the_other_replica_too(stand: Stand) -> None:
    """A scraper asks nothing else, so that its own request must look whether the key is there still."""
    made = stand.admin("api/access-keys", {"keyName": "scraper", "role": "monitor"})["accessKey"]
    answers = []
    with open_client(timeout_s=10) as client:
        for _ in range(2):
            headers = {"authorization": f"Bearer {made}"}
            answers.append(client.get(f"{stand.two.url}metrics", headers=headers).status_code)
            if len(answers) == 1:
                stand.admin("api/access-key", {"keyName": "scraper"}, "DELETE")

    assert answers == [200, 401]


def keys_until_refused(client: Party) -> int:
    """How many keys a client gets before its quota is used up."""
    for count in range(100):
        try:
            client.generate()
        except KeyServiceUnavailable:
            return count
    return 100


def test_a_quota_is_overshot_by_no_more_than_there_are_replicas(stand: Stand) -> None:
    """Set at one it holds at both at the next request, and each of the two gives as many keys and no more."""
    quota, began = 3, time.monotonic()
    stand.admin("api/clients/limits", {"client_id": stand.clients[0][0], "generate_per_minute": quota})

    granted = [keys_until_refused(stand.client(0, replica)) for replica in (stand.one, stand.two)]

    assert min(granted) >= quota
    assert sum(granted) <= 2 * quota * (1 + (time.monotonic() - began) / 60)


def test_both_replicas_write_and_agree(stand: Stand) -> None:
    """Writes at both, in turns and at once, are one store's: each sees the other's, and both chains are their own."""
    other = Remote(stand.two.url, stand.admin._access_key)
    threads = [
        threading.Thread(target=call, args=("create-keyset", {"name": f"k{n}", "description": "x"}))
        for n, call in enumerate((stand.admin, other) * 5)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    names = [{k["name"] for k in call("list-keysets", {})} for call in (stand.admin, other)]
    assert names[0] == names[1] == {"default", *(f"k{n}" for n in range(10))}
    assert stand.one.authority.trail.head.place.chain != stand.two.authority.trail.head.place.chain


def test_a_row_that_no_replica_wrote_stops_both(stand: Stand) -> None:
    """A member that the database's administrator made an admin gets nothing more, and the next write stops them."""
    with psycopg.connect(stand.dsn) as connection:
        connection.execute("UPDATE access_keys SET role = 'admin', scopes = NULL, client = NULL WHERE name = 'first'")
    raised = Remote(stand.two.url, stand.clients[0][2])

    with pytest.raises(KeyAccessDenied, match="membership:create"):
        raised("api/memberships", {"subject": "CS|me", "role": "admin"})
    with pytest.raises(KeyServiceUnavailable, match="503"):
        stand.admin("api/access-key", {"keyName": "first"}, "DELETE")


def test_replicas_may_start_at_once(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """On an empty database both come up over one store, and each takes the other's tokens."""
    dsn = new_database()
    with ThreadPoolExecutor(2) as threads:
        one, two = threads.map(lambda name: Replica(tmp_path / name, dsn), ("one", "two"))
    try:
        workspace = new_workspace(one.authority.store, "shared")
        key = make_access_key(one.authority.store, workspace, "admin", "admin")
        for issuing, other in ((one, two), (two, one)):
            call = Remote(issuing.url, key)
            call("list-keysets", {})
            assert with_bearer(other, call._token)("list-keysets", {})
    finally:
        one.stop()
        two.stop()


def test_a_backup_of_replicas_is_restored_into_an_empty_database(
    stand: Stand, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    """Replicas start over it, each person unlocks it at whichever of them; a second restore is refused."""
    kept, key = stand.client(0, stand.one).generate()
    identity, path = pyrage.x25519.Identity.generate(), tmp_path / "identity"
    path.write_text(str(identity))
    store, dsn = stand.two.authority.store, new_database()
    store.refresh()
    source = Source(
        write_backup(store, [str(identity.to_public())], stand.two.authority.subjects),
        path,
        None,
        Anchored(1, store.head.version),
    )
    place = (dsn.replace("postgresql://", "postgresql+psycopg://", 1), store.region, Sealer(ROOT), source)
    credentials = restore(*place, ["ann", "bob"]).credentials
    with pytest.raises(ConfigError, match="has a store already"):
        restore(*place, ["ann"])

    one, two = Replica(tmp_path / "new one", dsn), Replica(tmp_path / "new two", dsn)
    try:
        for replica, name, missing in ((one, "ann", 1), (two, "bob", 0)):
            with pytest.raises(KeyServiceUnavailable, match="locked"):
                stand.client(0, replica).retrieve(kept)
            shown = {"credential": credentials[name]}
            assert Remote(replica.url, "").without_token("api/unlock", shown) == {"missing": missing}
        assert stand.client(0, one).retrieve(kept) == key
        assert stand.client(1, two).retrieve(kept) == key
    finally:
        one.stop()
        two.stop()


def with_bearer(replica: Replica, token: str) -> Remote:
    call = Remote(replica.url, "unused")
    call._token = token
    return call


def test_one_stops_and_clients_go_on(stand: Stand) -> None:
    """What one replica gave, the other gives again when the first is gone."""
    kept, key = stand.client(0, stand.one).generate()
    stand.one.stop()

    assert stand.client(0, stand.two).retrieve(kept) == key
    stand.one = Replica(stand.one.authority.trail.path.parent, stand.dsn)
    assert stand.client(1, stand.one).retrieve(kept) == key
