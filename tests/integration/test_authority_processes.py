"""`authority serve --workers N`: one address, one store, a chain for each process; one is killed, and clients go on."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.authorities import Asking, Enrolled, Served, until
from tests.conftest import DatabaseFactory
from tests.program import worker
from tests.proxy import Proxy
from worker.authority.audit.verify import verify
from worker.http_client import open_client

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(300)]


@pytest.fixture
def served(new_database: DatabaseFactory, tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path, new_database(), "--workers", "2", "--journal", str(tmp_path / "journal")) as running:
        yield running


def generated(served: Served, number: int) -> int:
    """How many lines of generated keys a process's trail has."""
    return (served.data / f"process-{number}" / "audit.jsonl").read_bytes().count(b'"operation":"generate"')


def test_one_of_two_processes_is_killed_and_clients_go_on(served: Served) -> None:
    """Both serve under one address; a killed one's chain is whole, and its successor goes on with it."""
    enrolled = Enrolled(served)
    killed = served.children()[0]
    with Asking([enrolled.party(served.url) for _ in range(4)], retried=True) as asking:
        until(lambda: generated(served, 0) > 20 and generated(served, 1) > 20, "both processes serve")
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(served.children()) == 2 and killed not in served.children(), "it is started again")
        before = generated(served, 0), generated(served, 1)
        until(lambda: generated(served, 0) > before[0] and generated(served, 1) > before[1], "both serve again")
        answered = sum(asking.given(n) for n in range(4))

    assert asking.failures() == []
    assert sum(asking.refused(n) for n in range(4)) == 0
    assert generated(served, 0) + generated(served, 1) >= answered
    _shown_as_one(served, enrolled)
    assert served.end() == 0
    for number in (0, 1):
        verdict = verify([served.data / f"process-{number}"])
        assert verdict.findings == []
        assert len(verdict.chains) == 1


def test_a_process_that_dies_while_the_database_is_away_comes_back_with_it(
    new_database: DatabaseFactory, tmp_path: Path
) -> None:
    """The other one stays, and the dead one is tried again until the database is back; once none is left all end."""
    dsn = new_database()
    place = urlsplit(dsn)
    with (
        Proxy(place.port or 5432, place.hostname or "127.0.0.1") as proxy,
        Served(tmp_path, dsn.replace(place.netloc.rpartition("@")[2], proxy.address), "--workers", "2") as served,
    ):
        killed, left = served.children()
        proxy.refuse = True
        proxy.cut()
        os.kill(killed, signal.SIGKILL)
        until(lambda: "authority_process_waits" in served.log, "it can't be started")
        proxy.refuse = False
        with Asking([Enrolled(served).party(served.url)], retried=True) as asking:
            until(lambda: generated(served, 0) > 20 and generated(served, 1) > 20, "both serve")
        assert left in served.children()
        proxy.refuse = True
        proxy.cut()
        for pid in served.children():
            os.kill(pid, signal.SIGKILL)
        exit_code = served.process.wait(60)

    assert asking.failures() == []
    assert exit_code == 4
    assert "can't be used" in served.log.splitlines()[-1]


def _shown_as_one(served: Served, enrolled: Enrolled) -> None:
    """A scrape of any process counts for all, and an auditor reads all chains."""
    scraper = enrolled.admin("api/access-keys", {"keyName": "scraper", "role": "monitor"})["accessKey"]
    lines = generated(served, 0) + generated(served, 1)
    with open_client(timeout_s=30) as client:
        text = client.get(f"{served.url}metrics", headers={"authorization": f"Bearer {scraper}"}).text
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    counted = sum(
        s.value for s in samples if s.name == "authority_keys_total" and s.labels.get("operation") == "generate"
    )
    # What the killed one counted is there; its end cut off four requests at most, counted or written already.
    assert abs(counted - lines) <= 4
    ready = {s.labels["part"]: s.value for s in samples if s.name == "authority_ready"}
    assert set(ready.values()) == {1.0}
    environ = {"CS_ADMIN_ACCESS_KEY": enrolled.admin._access_key, "CS_ZEROKMS_HOST": served.url}
    told = worker(environ, "authority", "audit", "query", "--operation", "generate")
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.splitlines()) == lines
