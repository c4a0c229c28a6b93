"""The pages' commands run as they are written, from an empty directory, on a real broker and a real database."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import DatabaseFactory
from tests.docs.pages import ROOT, run, script
from worker.local import LocalKafka
from worker.local.tls import CertificateAuthority

HOW_TO = ROOT / "docs" / "how-to"


def environment(**more: str) -> dict[str, str]:
    programs = str(Path(sys.executable).parent)
    return {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": "/", **more}


def require_psql() -> None:
    if shutil.which("psql") is None:
        pytest.skip("`psql` is not on PATH: install PostgreSQL's client")


def together(*pages: Path, within: str = "") -> tuple[dict[str, str], list[str]]:
    """Return the files and commands of pages that follow each other in one directory and one shell."""
    parts = [script(page, within=within) for page in pages]
    return {name: text for files, _ in parts for name, text in files.items()}, [x for _, lines in parts for x in lines]


def test_adding_a_field(tmp_path: Path) -> None:
    """The how-to of a schema's change needs the program alone."""
    files, lines = together(HOW_TO / "add-a-field.md")

    done = run(files, lines, tmp_path, environment(), 50)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.integration
@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_the_tutorial_and_what_follows_it(new_database: DatabaseFactory, tmp_path: Path) -> None:
    """From an empty directory to the end of the tutorial; then recover, revoke and rotate, in the same region."""
    require_psql()
    pages = [HOW_TO / name for name in ("recover.md", "revoke.md", "rotate.md", "leave.md", "stolen-key.md")]
    files, lines = together(ROOT / "docs" / "tutorial.md", *pages)

    with LocalKafka() as kafka:
        variables = environment(KAFKA=kafka.bootstrap, DATABASE_URL=new_database())
        done = run(files, lines, tmp_path, variables, 800)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.integration
@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_the_quick_start(tmp_path: Path) -> None:
    """README's ten lines, on a topic of one's own that is there already."""
    tutorial, produce = script(ROOT / "docs" / "tutorial.md")
    _, lines = script(ROOT / "README.md", within="## Quick start: your own Kafka")
    lines = [
        line
        for line in lines
        if not line.startswith(("worker doctor", "worker run --config worker.toml --proc", "worker encrypt-files"))
    ]
    before = [line for line in produce if line.startswith("cp files/") or line == "python produce.py"]

    with LocalKafka() as kafka:
        done = run(tutorial, [*before, *lines], tmp_path, environment(KAFKA=kafka.bootstrap), 250)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "ada@example.org" in done.stdout


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
    files, lines = together(HOW_TO / "deploy.md")

    done = run(files, lines, tmp_path, environment(DATABASE_URL=new_database()), 250)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
