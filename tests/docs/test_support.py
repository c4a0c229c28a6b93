"""docs/how-to/support-elsewhere.md by its commands: credentials, a row that is read, the audit, the end of it."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest

from tests.conftest import DatabaseFactory
from tests.docs.pages import run
from tests.docs.test_commands import environment
from tests.docs.walks import WALKS
from worker import Encryption, output_schema
from worker.authority.dev import DevAuthority

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Customer",
        "fields": [{"name": "id", "type": "long"}, {"name": "email", "type": "string", "encrypted": True}],
    }
)


@pytest.mark.integration
@pytest.mark.heavy
@pytest.mark.timeout(200)
def test_a_row_is_read_elsewhere_and_then_no_more(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """The EU's admin and the team are two shells; the row opens for the team until its client is deleted."""
    dsn = new_database(region="eu-central-1")
    (tmp_path / "customer.enc.avsc").write_text(output_schema(SCHEMA))
    with DevAuthority("eu-central-1", tmp_path / "eu") as eu:
        with Encryption.from_env(environ=eu.env) as own, psycopg.connect(dsn) as connection:
            connection.execute("CREATE SCHEMA crm; CREATE TABLE crm.customers (id bigint, email bytea)")
            sealed = own.encrypt_many(["ann@x", "bob@x"], field="acme.crm.Customer/email")
            connection.execute("INSERT INTO crm.customers VALUES (1, %s), (2, %s)", sealed)
        files, (create, limit, read, query, delete) = WALKS["support elsewhere"].script()
        hosts = {name: eu.env[name] for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")}
        team = " ".join(f"CS_EU_{name.removeprefix('CS_')}={url}" for name, url in hosts.items())
        as_team = f"(unset ${{!CS_*}}; set -a; . ./support.env; DATABASE_URL={dsn!r} {team}; {read})"
        lines = [create, 'SUPPORT_CLIENT="$(. ./support.env && echo "$CS_EU_CLIENT_ID")"', limit]
        mine = {name: value for name, value in eu.env.items() if not name.endswith("_2")}

        done = run(files, [*lines, as_team, query, delete, f"! {as_team}"], tmp_path, environment(**mine), 150)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert done.stdout.count('"email":"ann@x"') == 1
    assert "bob@x" not in done.stdout
    assert "ticket 4711" in done.stdout
