"""The worker's ledgers remember the authority's audit, and what is taken out of that is found without an anchor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.program import worker
from worker.authority.dev import DevAuthority

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def keys(tmp_path: Path) -> Iterator[DevAuthority]:
    """An authority whose trail the test may spoil."""
    with DevAuthority("eu-central-1", tmp_path / "authority") as running:
        yield running


@pytest.fixture
def site(kafka: Kafka, new_database: DatabaseFactory, keys: DevAuthority, tmp_path: Path) -> Deployment:
    """A worker with a route into a topic and one into a table."""
    made = Deployment(kafka=kafka, dsn=new_database(region="eu-central-1"), authority=keys.env, directory=tmp_path)
    made.prepare()
    return made


def run(site: Deployment, path: Path) -> bytes:
    """Read what lies there now; returns what it said."""
    ended = worker(site.environ, "run", "--config", str(path), "--until-end", "--json")
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stderr


def table_only(site: Deployment, schema_id: int) -> Path:
    """Settings without the route into a topic, and with a table that others make."""
    path = site.settings(schema_id)
    head, _, routes = path.read_text().partition("[[routes]]")
    own = routes.split("[[routes]]")[1].replace(", create = true", "")
    path.write_text(head + "[[routes]]" + own, encoding="utf-8")
    return path


def test_the_audit_can_t_drop_what_a_ledger_remembers(site: Deployment, keys: DevAuthority, tmp_path: Path) -> None:
    """From table and topic: each request whose keys are in a ledger has its receipt there, and a cut trail is found."""
    schema_id, _ = site.write_customers(1, 40)
    path = site.settings(schema_id)
    run(site, path)

    told = worker(site.environ, "ledger", "audited", "--config", str(path))
    assert told.returncode == 0, told.stderr
    receipts = [json.loads(line) for line in told.stdout.splitlines()]
    with psycopg.connect(site.dsn) as connection:
        used = {str(row[0]) for row in connection.execute("SELECT unnest(request_ids) FROM worker.ledger")}
    mine = {json.loads(line)["chain"] for line in keys.audit_path.read_bytes().splitlines()}
    assert used <= {receipt.get("request_id") for receipt in receipts}
    # The topic is the region's: it has those of other tests' authorities besides.
    ledger = tmp_path / "seen.jsonl"
    ledger.write_text("".join(json.dumps(r) + "\n" for r in receipts if r["chain"] in mine))
    command = ("authority", "audit", "verify", str(keys.audit_path.parent), "--against", str(ledger))
    whole = worker(site.environ, *command)
    assert whole.returncode == 0, whole.stdout + whole.stderr

    entries = keys.audit_path.read_bytes().splitlines()
    last = max(r["seq"] for r in receipts if r["chain"] in mine)
    keys.audit_path.write_bytes(b"".join(line + b"\n" for line in entries[:last]))
    cut = worker(site.environ, *command)

    assert cut.returncode == 1
    assert f"line {last} of chain" in cut.stdout.decode()


def test_a_table_of_an_earlier_version_takes_entries_without(site: Deployment) -> None:
    """A worker that was upgraded alone goes on and says what to do; once that is done its entries have receipts."""
    schema_id, _ = site.write_customers(1, 40)
    path = table_only(site, schema_id)
    assert worker(site.environ, "check", "--create", "--config", str(path)).returncode == 0
    with psycopg.connect(site.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE worker.ledger DROP COLUMN audited")

    said = run(site, path)
    assert b"ledger_without_receipts" in said
    assert worker(site.environ, "check", "--create", "--config", str(path)).returncode == 0
    site.write_customers(2, 40)
    run(site, path)

    verified = worker(site.environ, "ledger", "verify", "--config", str(path), "--json")
    assert verified.returncode == 0, verified.stderr
    assert worker(site.environ, "ledger", "audited", "--config", str(path)).stdout.splitlines() != []
