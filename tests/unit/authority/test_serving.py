"""`worker authority serve` with its options, and what an admin is shown of access keys."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.authority.conftest import Party, party
from worker.authority.audit import AuditFile
from worker.authority.dev import DevAuthority, read_env
from worker.authority.refusal import Refusal
from worker.authority.remote import Remote
from worker.authority.server import bind
from worker.errors import KeyServiceUnavailable


def test_serve_takes_quotas_an_escrow_key_and_a_synced_audit(tmp_path: Path) -> None:
    """A client is made, has its quota of keys and no more, and every request of it is in the trail."""
    with bind("127.0.0.1", 0) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name in ("root", "escrow"):
        (tmp_path / name).write_text(os.urandom(32).hex())
    options = ["--region", "eu-central-1", "--data", str(tmp_path / "data"), "--public-url", url]
    options += ["--listen", url.removeprefix("http://"), "--root-key-file", str(tmp_path / "root"), "--audit-sync"]
    options += ["--escrow-key-file", str(tmp_path / "escrow"), "--generate-per-minute", "3"]
    options += ["--admin-key-file", str(tmp_path / "admin.env")]
    command = [sys.executable, "-c", "from worker.cli import main; main()", "authority", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "ready" in process.stdout.readline()
            admin = read_env(tmp_path / "admin.env")["CS_ADMIN_ACCESS_KEY"]
            made = Remote(url, admin)("create-client", {"name": "first"})
            first = Party(url, admin, made["id"], made["client_key"])
            kept, key = first.generate()
            first.generate()
            first.generate()
            with pytest.raises(KeyServiceUnavailable, match="429"):
                first.generate()
            assert first.retrieve(kept) == key
        finally:
            process.terminate()

    assert process.returncode == 0
    assert len((tmp_path / "data" / "audit.jsonl").read_text().splitlines()) == 5


def test_a_flush_that_fails_stops_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `sync` a line that does not reach the disk is a line that was not written."""

    def failing(_fd: int) -> None:
        raise OSError("no")

    trail = AuditFile(tmp_path / "audit.jsonl", bytes(32), "eu-central-1", sync=True)
    trail.record({"outcome": "allowed"})
    monkeypatch.setattr(os, "fsync", failing)
    try:
        with pytest.raises(Refusal, match="audit"):
            trail.record({"outcome": "allowed"})
    finally:
        trail.close()


def test_an_access_key_s_last_use_is_shown(own: DevAuthority) -> None:
    """A key that was exchanged shows when; one that never was shows nothing."""
    before = time.time()
    party(own).generate()

    used = {k["keyName"]: k["lastUsedAt"] for k in own.admin("api/access-keys", None, "GET")}

    assert used["second"] is None
    assert before <= used["first"] <= time.time()


def test_a_store_of_the_first_version_is_migrated(own: DevAuthority) -> None:
    """A store from before last uses were kept opens, and keeps them from then on."""
    kept, key = party(own).generate()
    own.stop()
    connection = sqlite3.connect(own.audit_path.parent / "authority.sqlite")
    connection.execute("ALTER TABLE access_keys DROP COLUMN last_used_at")
    connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.commit()
    connection.close()

    with DevAuthority("eu-central-1", own.audit_path.parent) as again:
        assert party(again).retrieve(kept) == key
        used = {k["keyName"]: k["lastUsedAt"] for k in again.admin("api/access-keys", None, "GET")}

    assert used["first"] is not None
