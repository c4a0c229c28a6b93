"""The first pages' commands run as they are written, from an empty directory, on a real broker and a real database."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import DatabaseFactory
from tests.docs.pages import run
from tests.docs.walks import WALKS
from worker.local import LocalKafka
from worker.local.tls import CertificateAuthority

PRODUCE = ("cp files/customer.avsc", "cp files/produce.py", "python produce.py")
EXPORTED = """
import fastavro, os
os.mkdir("export")
with open("export/customers.avro", "wb") as file:
    fastavro.writer(file, fastavro.schema.load_schema("customer.avsc"), [{"id": 9, "email": "x@y", "country": "NO"}])
"""


def environment(**more: str) -> dict[str, str]:
    programs = str(Path(sys.executable).parent)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": "/", **more}


def require_psql() -> None:
    if shutil.which("psql") is None:
        pytest.skip("`psql` is not on PATH: install PostgreSQL's client")


def test_adding_a_field(tmp_path: Path) -> None:
    """The how-to of a schema's change needs the program alone."""
    files, lines = WALKS["add a field"].script()

    done = run(files, lines, tmp_path, environment(), 50)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.integration
@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_the_tutorial_and_what_follows_it(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """From an empty directory to the end of the tutorial; then recover, revoke and rotate, in the same region."""
    require_psql()
    files, lines = WALKS["tutorial"].script()

    with LocalKafka() as kafka:
        variables = environment(KAFKA=kafka.bootstrap, DATABASE_URL=new_database())
        done = run(files, lines, tmp_path, variables, 800)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.integration
@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_getting_away_from_a_stolen_key(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """What the tutorial made leaves in the clear, and goes over to a keyset that a thief has not."""
    require_psql()
    files, lines = WALKS["stolen key"].script()

    with LocalKafka() as kafka:
        variables = environment(KAFKA=kafka.bootstrap, DATABASE_URL=new_database())
        done = run(files, lines, tmp_path, variables, 500)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.integration
@pytest.mark.heavy
@pytest.mark.timeout(400)
def test_the_quick_start(tmp_path: Path) -> None:
    """README's lines, on a topic of one's own that is there already, with a container file to encrypt."""
    tutorial, produce = WALKS["tutorial"].script()
    _, lines = WALKS["quick start"].script()
    (tmp_path / "export.py").write_text(EXPORTED)
    before = [line for line in produce if line.startswith(PRODUCE)]

    with LocalKafka() as kafka:
        variables = environment(KAFKA=kafka.bootstrap)
        done = run(tutorial, [*before, "python export.py", *lines], tmp_path, variables, 350)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "ada@example.org" in done.stdout
    assert b"x@y" not in (tmp_path / "enc" / "customers.avro").read_bytes()


@pytest.mark.integration
@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_deploying_a_region(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """An authority behind TLS, its first client, and a database that declares its region."""
    require_psql()
    # One file holds certificate and key.
    server = CertificateAuthority(tmp_path).issue("localhost")
    for name in ("tls.pem", "tls.key"):
        shutil.copy(server, tmp_path / name)
    files, lines = WALKS["deploy a region"].script()

    done = run(files, lines, tmp_path, environment(DATABASE_URL=new_database()), 250)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
