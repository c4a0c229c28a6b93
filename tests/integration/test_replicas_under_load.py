"""Replicas while clients ask for keys: what is taken back, a replica that dies, a version that follows another."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.authorities import ROOT, Asking, Enrolled, Served, until
from tests.conftest import DatabaseFactory

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(300)]
BEFORE = "f73a041^"
"""The last version before clients had limits of their own: its store has the schema 0003."""

TAKEN_BACK: dict[str, Callable[[Enrolled], object]] = {
    "revoked": lambda e: e.admin("revoke-keyset", {"client_id": e.client_id, "keyset_id": {"Name": "default"}}),
    "disabled": lambda e: e.admin("disable-keyset", {"keyset_id": {"Name": "default"}}),
    "client deleted": lambda e: e.admin("delete-client", {"client_id": e.client_id, "last": "first"}),
    "access key deleted": lambda e: e.admin("api/access-key", {"keyName": "first"}, "DELETE"),
}


@pytest.mark.parametrize("kind", TAKEN_BACK)
def test_what_is_taken_back_under_load_is_in_force_on_both_at_the_next_request(
    kind: str, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    """No request that began after the answer to the admin is given a key, at neither replica; those before it were."""
    dsn = new_database()
    with Served(tmp_path / "one", dsn) as one, Served(tmp_path / "two", dsn) as two:
        enrolled = Enrolled(one)
        with Asking([enrolled.party(replica.url) for replica in (one, two, one, two)]) as asking:
            until(lambda: all(asking.given(n) > 10 for n in range(4)), "all are given keys")
            TAKEN_BACK[kind](enrolled)
            since = time.monotonic()
            until(lambda: all(asking.refused(n, since) > 5 for n in range(4)), "all are refused")

    assert sum(asking.given(n, since) for n in range(4)) == 0
    assert asking.failures() == []


def test_a_replica_that_is_killed_takes_nobody_with_it(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """SIGKILL of one in the middle of requests: the other goes on with every key, and takes writes."""
    dsn = new_database()
    with Served(tmp_path / "one", dsn) as one, Served(tmp_path / "two", dsn) as two:
        enrolled = Enrolled(one)
        kept, key = enrolled.party(one.url).generate()
        with Asking([enrolled.party(two.url), enrolled.party(one.url)]) as asking:
            until(lambda: all(asking.given(n) > 10 for n in range(2)), "both are given keys")
            one.process.send_signal(signal.SIGKILL)
            one.process.wait(30)
            killed = time.monotonic()
            until(lambda: asking.given(0, killed) > 10, "the other goes on")

        assert asking.refused(0) == 0
        assert enrolled.party(two.url).retrieve(kept) == key
        enrolled.admin._base = two.url
        enrolled.admin("disable-keyset", {"keyset_id": {"Name": "default"}})


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The version of before, from the history."""
    directory = tmp_path_factory.mktemp("before")
    archive = subprocess.run(["git", "archive", BEFORE, "worker"], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"{BEFORE} is not in this clone's history: git fetch --unshallow")
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive.stdout, check=True)
    return directory


def test_a_version_follows_another_while_clients_go_on(
    before: Path, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    """
    A replica of an older schema serves on while a newer one migrates the store beside it, and until it is stopped.

    No request fails meanwhile, keys of each are keys of the other, and what one takes back holds at both.
    """
    dsn = new_database()
    with Served(tmp_path / "old", dsn, tree=before) as old:
        enrolled = Enrolled(old)
        kept, key = enrolled.party(old.url).generate()
        with Asking([enrolled.party(old.url)]) as asking:
            until(lambda: asking.given(0) > 10, "the old one serves")
            with Served(tmp_path / "new", dsn) as new:
                assert enrolled.party(new.url).retrieve(kept) == key
                since = time.monotonic()
                with Asking([enrolled.party(new.url)]) as asked:
                    until(lambda: asking.given(0, since) > 10 and asked.given(0) > 10, "both serve")
                    enrolled.admin("create-keyset", {"name": "by-the-old", "description": "x"})
                    enrolled.admin._base = new.url
                    enrolled.admin("disable-keyset", {"keyset_id": {"Name": "default"}})
                    disabled = time.monotonic()
                    until(lambda: min(asking.refused(0, disabled), asked.refused(0, disabled)) > 5, "both refuse")
                    # Looked at before it is enabled again, which takes effect before the answer to the admin.
                    assert asking.given(0, disabled) == asked.given(0, disabled) == 0
                    enrolled.admin("enable-keyset", {"keyset_id": {"Name": "default"}})
                    enabled = time.monotonic()
                    until(lambda: min(asking.given(0, enabled), asked.given(0, enabled)) > 5, "both give")
                assert asked.failures() == []
                assert asking.failures() == []
                assert old.end() == 0
                assert enrolled.party(new.url).retrieve(kept) == key
