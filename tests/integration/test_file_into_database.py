"""A store in a file is lost and comes back in PostgreSQL, for replicas: whatever stood in it, and nothing erased."""

from __future__ import annotations

from pathlib import Path

import pyrage
import pytest
from typer.testing import CliRunner

from tests.conftest import DatabaseFactory
from tests.integration.test_replicas import Replica
from tests.unit.authority.conftest import Party, access_key
from tests.unit.authority.erasure.conftest import PEOPLE, key_service_in, with_people
from worker.authority.dev import DevAuthority
from worker.authority.erasure.keyholder import CommandKeys
from worker.authority.remote import Remote
from worker.authority.seal import root_from_file
from worker.authority.server import AuthorityOptions
from worker.cli import authority as command
from worker.errors import KeyAccessDenied

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]
ODD = "\u202eRTL \U0001f511 \ufffe\uffff '\"; DROP TABLE meta; -- \\u0000 \x01\x7f"
WIDE = 10**12


def test_a_file_s_store_comes_back_in_a_database(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """Odd text, long numbers, subjects under epochs, and what was erased after the backup, by two replicas."""
    service = key_service_in(tmp_path)
    kept_outside = CommandKeys(service.command)
    options = AuthorityOptions(keys=kept_outside, journal=tmp_path / "journal", anchor=tmp_path / "anchor")
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "identity").write_text(f"{identity}\n")
    with DevAuthority("eu-central-1", tmp_path / "own", options=options) as own:
        people = with_people(own)
        kept = [people.make(customer_id=n) for n in range(3)]
        own.admin("modify-keyset", {"keyset_id": {"Name": "default"}, "description": ODD})
        own.admin("api/subjects/block", {"subject": ODD})
        access_key(own, None, "auditor", keyName=ODD[:60])
        jwks = {"keys": [{"kid": ODD, "n": 1 << 60, "x": [1.5, None, True]}]}
        own.admin("api/oidc/providers", {"issuer": ODD, "audience": ODD, "vendor": "other", "jwks": jwks})
        own.admin("api/clients/limits", {"client_id": people.client.client_id, "generate_per_minute": WIDE})
        people.erase(("customer_id", 0))
        arguments = ["backup", "--recipient", str(identity.to_public()), "--output", str(tmp_path / "backup")]
        assert CliRunner().invoke(command.app, arguments, env=own.env).exit_code == 0
        people.erase(("customer_id", 1))
        assert own.admin("api/epoch")["moved"]
        env = dict(own.env)

    dsn = new_database()
    files = {"identity": "identity", "journal": "journal", "anchor": "anchor", "root-key-file": "own/root.key"}
    arguments = ["restore", str(tmp_path / "backup"), "--region", "eu-central-1", "--data", str(tmp_path / "unused")]
    arguments += [text for name, file in files.items() for text in (f"--{name}", str(tmp_path / file))]
    url = dsn.replace("postgresql://", "postgresql+psycopg://", 1)
    done = CliRunner().invoke(
        command.app, [*arguments, "--epoch-key-command", service.command], env={"AUTHORITY_STORE_URL": url}
    )
    assert done.exit_code == 0, (done.output, done.exception)
    (credential,) = [line.split(": ")[1] for line in done.output.splitlines() if line.startswith("  ")]
    root = root_from_file(tmp_path / "own" / "root.key")
    replicas = [Replica(tmp_path / name, dsn, root, kept_outside) for name in ("one", "two")]
    try:
        Remote(replicas[0].url, "").without_token("api/unlock", {"credential": credential})
        for replica in replicas:
            client = Party(replica.url, env["CS_CLIENT_ACCESS_KEY"], env["CS_CLIENT_ID"], env["CS_CLIENT_KEY"])
            assert client.retrieve(kept[2][0], PEOPLE) == kept[2][1]
            for item, _ in kept[:2]:
                with pytest.raises(KeyAccessDenied, match="subject_erased"):
                    client.retrieve(item, PEOPLE)
        admin = Remote(replicas[1].url, env["CS_ADMIN_ACCESS_KEY"])
        assert admin("api/subjects/blocked", None, "GET") == [{"subject": ODD}]
        assert ODD in [row["description"] for row in admin("list-keysets", {})]
        assert admin("api/oidc/providers", None, "GET")[0]["issuer"] == ODD
        assert WIDE in [row["generate_per_minute"] for row in admin("list-clients", {})]
        admin("api/erase", {"keyset_id": PEOPLE, "values": [["customer_id", "2"]]})
        assert admin("api/epoch")["moved"]
        state = admin("api/erased", {"keyset_id": PEOPLE, "values": [["customer_id", str(n)] for n in range(3)]})
        assert {each["state"] for each in state["values"]} == {"gone"}
    finally:
        for replica in replicas:
            replica.stop()
