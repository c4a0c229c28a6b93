"""The case that the SDK is for: support elsewhere reads a region's records, with that region's credentials."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.program import said
from worker import Encryption, Regions, Table, output_schema
from worker.authority.dev import DevAuthority
from worker.demo.customers import SCHEMA
from worker.errors import KeyAccessDenied

pytestmark = pytest.mark.integration
EU, AP = "eu-central-1", "ap-southeast-2"
WHY = "ticket 4711"
COUNT = 20


@pytest.fixture
def authority_eu(tmp_path: Path) -> Iterator[DevAuthority]:
    with DevAuthority(EU, tmp_path / "eu") as running:
        yield running


@pytest.fixture
def site(
    kafka: Kafka, new_database: DatabaseFactory, authority_eu: DevAuthority, tmp_path: Path
) -> tuple[Deployment, int]:
    """The EU's worker has encrypted its customers into a topic and a table, and ended."""
    deployment = Deployment(kafka=kafka, dsn=new_database(region=EU), authority=authority_eu.env, directory=tmp_path)
    deployment.prepare()
    schema_id, _ = deployment.write_customers(1, COUNT)
    run(deployment.environ, "run", "--config", str(deployment.settings(schema_id)), "--until-end")
    return deployment, schema_id


def run(environ: Mapping[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CS_", "WORKER_", "DATABASE_"))}
    return said({**kept, **environ}, *args, timeout_s=55)


def support(eu: DevAuthority, ap: Mapping[str, str]) -> dict[str, str]:
    """A workstation in AP: its own credentials, and a client of the EU's."""
    env = {f"CS_AP_{name.removeprefix('CS_')}": value for name, value in ap.items() if not name.endswith("_2")}
    own = {name: eu.env[f"{name}_2"] for name in ("CS_CLIENT_ID", "CS_CLIENT_KEY", "CS_CLIENT_ACCESS_KEY")}
    shared = {name: eu.env[name] for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST", "CS_WORKSPACE_CRN")}
    return env | {f"CS_EU_{name.removeprefix('CS_')}": value for name, value in (shared | own).items()}


def audited(eu: DevAuthority) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in eu.audit_path.read_text().splitlines()]
    return [
        e
        for e in lines
        if str(e.get("operation", "")).startswith("retrieve") and e.get("client") == eu.env["CS_CLIENT_ID_2"]
    ]


def rows_of(deployment: Deployment) -> list[dict[str, Any]]:
    with psycopg.connect(deployment.dsn, row_factory=dict_row) as connection:
        return connection.execute("SELECT * FROM crm.customers ORDER BY id").fetchall()


def test_support_reads_another_regions_records(
    site: tuple[Deployment, int], authority_eu: DevAuthority, authority_ap: dict[str, str], tmp_path: Path
) -> None:
    """By SDK and command line with the EU's credentials alone; deleted, it reads nothing; all is audited."""
    deployment, _ = site
    environ = support(authority_eu, authority_ap)
    rows, table = rows_of(deployment), Table(output_schema(SCHEMA), region=EU)
    schema = tmp_path / "customer.enc.avsc"
    schema.write_text(output_schema(SCHEMA))
    of_topic = ("--topic", deployment.sink, "--bootstrap", deployment.kafka.bootstrap, "--schema", str(schema))
    of_table = ("--table", "crm.customers", "--dsn", deployment.dsn, "--schema", str(schema))

    with Regions.from_env("CS_EU_", "CS_AP_", environ=environ) as regions:
        with regions.because(WHY):
            opened = regions.decrypt_rows(rows[: COUNT // 2], table=table)
        assert all("@" in row["email"] for row in opened)
        assert {row["id"]: row["email"] for row in opened}.keys() == {row["id"] for row in rows[: COUNT // 2]}

        for source in (of_topic, of_table):
            told = run(environ, "decrypt", *source, "--region", EU, "--reason", WHY, "--limit", "3")
            assert told.returncode == 0, told.stderr
            assert all("@" in json.loads(line)["value"]["email"] for line in told.stdout.splitlines())
            mixed = run(environ, "decrypt", *source, "--region", EU, "--region", AP, "--reason", WHY, "--format", "csv")
            assert mixed.returncode == 0, mixed.stderr
            assert len(mixed.stdout.splitlines()) == COUNT + 1
            refused = run(environ, "decrypt", *source, "--region", AP)
            assert refused.returncode == 1
            assert {json.loads(line)["code"] for line in refused.stdout.splitlines()} == {"key_refused"}

        with Encryption.from_env("CS_AP_", environ=environ) as own, pytest.raises(KeyAccessDenied):
            own.decrypt(rows[0]["email"], field="acme.crm.Customer/email")

        authority_eu.delete_client(authority_eu.env["CS_CLIENT_ID_2"])
        with regions.because("ticket 4712"), pytest.raises(KeyAccessDenied):
            regions.decrypt_row(rows[-1], table=table)

    entries = audited(authority_eu)
    assert {e["unverified_context"].get("reason") for e in entries} == {WHY, "ticket 4712"}
    assert all(e["subject"].startswith("CS|CSAK") for e in entries)
    assert {e["outcome"] for e in entries if e["unverified_context"]["reason"] == "ticket 4712"} == {"refused"}
    assert {e["outcome"] for e in entries if e["unverified_context"]["reason"] == WHY} == {"allowed"}
