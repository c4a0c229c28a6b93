"""What PostgreSQL itself can do to a whole worker: end its sessions, turn read-only, pick it as a victim, fill up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from structlog.testing import capture_logs

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.running import Running, arrived, each_once, produce, until
from worker.app import Worker
from worker.local import LocalPostgres
from worker.local.binaries import server_account

pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(240)]
REGION = "eu-central-1"
FIRST, MORE = 50, 50


def administrate(dsn: str, *statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def end_sessions(dsn: str) -> None:
    """End the worker's sessions as a shutdown by the administrator does (57P01)."""
    ours = "application_name LIKE 'worker %' AND datname = current_database()"
    administrate(dsn, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}")


def test_ended_sessions(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> None:
    """A server that ends the worker's sessions, again and again, costs reconnects and no record."""
    site = Deployment(kafka=kafka, dsn=new_database(region=REGION), authority=authority, directory=tmp_path)
    site.prepare()
    schema_id = produce(site, 1, FIRST)
    with Worker(site.load(schema_id), site.environ) as worker, Running(worker):
        until(lambda: arrived(site, FIRST), "the first records arrive")
        for seed in range(2, 5):
            end_sessions(site.dsn)
            produce(site, seed, MORE)
        until(lambda: arrived(site, FIRST + 3 * MORE), "the rest arrives")
        each_once(site, FIRST + 3 * MORE)


def test_a_server_that_becomes_read_only(
    kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """After a failover the old primary is read-only: the route waits for a writable one."""
    dsn = new_database(region=REGION)
    site = Deployment(kafka=kafka, dsn=dsn, authority=authority, directory=tmp_path)
    site.prepare()
    schema_id = produce(site, 1, FIRST)
    name = urlsplit(dsn).path.removeprefix("/")
    with Worker(site.load(schema_id), site.environ) as worker, Running(worker) as running:
        until(lambda: arrived(site, FIRST), "the first records arrive")
        administrate(dsn, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        end_sessions(dsn)
        produce(site, 2, MORE)
        until(lambda: running.says("sink"), "the route says that its sink is away")
        administrate(dsn, "SET default_transaction_read_only = off", f"ALTER DATABASE {name} RESET ALL")
        until(lambda: arrived(site, FIRST + MORE), "the rest arrives")
        each_once(site, FIRST + MORE)


def test_a_deadlock(kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path) -> None:
    """A batch that the server picks as a deadlock's victim (40P01) is delivered again, once."""
    dsn = new_database(region=REGION)
    site = Deployment(kafka=kafka, dsn=dsn, authority=authority, directory=tmp_path)
    site.prepare(partitions=1)
    schema_id = produce(site, 1, FIRST)
    name = urlsplit(dsn).path.removeprefix("/")
    # The worker's session looks for deadlocks before the other one does, and becomes the victim.
    administrate(dsn, f"ALTER DATABASE {name} SET deadlock_timeout = '3s'")
    with capture_logs() as logs, Worker(site.load(schema_id), site.environ) as worker, Running(worker):
        until(lambda: arrived(site, FIRST), "the first records arrive")
        with psycopg.connect(dsn) as other:
            other.execute("SET deadlock_timeout = '1h'")
            other.execute("SELECT 1 FROM worker.offsets FOR UPDATE")
            produce(site, 2, MORE)
            until(lambda: _waits_for_a_row(dsn), "the worker waits for its position")
            # Granted when the worker has been rolled back.
            other.execute("LOCK TABLE crm.customers IN EXCLUSIVE MODE")
        until(lambda: arrived(site, FIRST + MORE), "the rest arrives")
        each_once(site, FIRST + MORE)

    assert any("40P01" in str(entry.get("error", "")) for entry in logs)


def _waits_for_a_row(dsn: str) -> bool:
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'worker %' "
        "AND datname = current_database() AND wait_event_type = 'Lock'"
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    return row is not None and row[0] > 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MiB, owned by the account that PostgreSQL runs as."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a size-limited file system needs the right to mount one (root)")
    account = server_account()
    if account is not None:
        shutil.chown(place, account)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(kafka: Kafka, authority: dict[str, str], small_disk: Path, tmp_path: Path) -> None:
    """A table on a full disk (53100) pauses its route; when there is room again every record is there once."""
    for parent in small_disk.parents:
        # PostgreSQL runs as another account than the tests and must reach the mount.
        if parent.is_relative_to(Path("/tmp")) and parent != Path("/tmp"):
            os.chmod(parent, 0o755)
    with LocalPostgres() as server:
        site = Deployment(
            kafka=kafka, dsn=server.create_database(region=REGION), authority=authority, directory=tmp_path
        )
        site.prepare()
        administrate(
            site.dsn,
            f"CREATE TABLESPACE small LOCATION '{small_disk}'",
            "ALTER TABLE crm.customers SET TABLESPACE small",
            "CREATE TABLE filler (id int, data text) TABLESPACE small",
        )
        schema_id = produce(site, 1, FIRST)
        with capture_logs() as logs, Worker(site.load(schema_id), site.environ) as worker, Running(worker) as running:
            until(lambda: arrived(site, FIRST), "the first records arrive")
            fill(site.dsn)
            produce(site, 2, 2_000)
            until(lambda: running.says("sink"), "the route says that its sink is away")
            administrate(site.dsn, "DROP TABLE filler", "CHECKPOINT")
            until(lambda: arrived(site, FIRST + 2_000), "the rest arrives")
            each_once(site, FIRST + 2_000)

    assert any("53100" in str(entry.get("error", "")) for entry in logs if entry["event"] == "paused")


def fill(dsn: str) -> None:
    """Leave no page on the small disk."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for rows in (1_000, 100, 10, 1, 1):
            try:
                while True:
                    connection.execute(
                        "INSERT INTO filler SELECT i, repeat(md5(i::text), 60) FROM generate_series(1, %s) AS i", [rows]
                    )
            except psycopg.errors.DiskFull:
                continue
