"""`worker authority serve` with its options, and what an admin is shown of access keys."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from tests.program import COMMAND
from tests.unit.authority.conftest import Party, access_key, party
from worker.authority.dev import DevAuthority, read_env
from worker.authority.remote import Remote
from worker.authority.server import bind
from worker.cli import authority
from worker.errors import ConfigError, KeyServiceUnavailable


def test_serve_takes_quotas_an_escrow_key_and_a_synced_audit(tmp_path: Path) -> None:
    """A client is made, has its quota of keys and no more, and every request of it is in the trail."""
    with bind("127.0.0.1", 0) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name in ("root", "escrow"):
        (tmp_path / name).write_text(os.urandom(32).hex())
        (tmp_path / name).chmod(0o600)
    options = ["--region", "eu-central-1", "--data", str(tmp_path / "data"), "--public-url", url]
    options += ["--listen", url.removeprefix("http://"), "--root-key-file", str(tmp_path / "root")]
    options += ["--escrow-key-file", str(tmp_path / "escrow"), "--generate-per-minute", "3"]
    options += ["--admin-key-file", str(tmp_path / "admin.env")]
    command = [*COMMAND, "authority", "serve", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert "ready" in process.stdout.readline()
            admin = read_env(tmp_path / "admin.env")["CS_ADMIN_ACCESS_KEY"]
            made = Remote(url, admin)("create-client", {"name": "first"})
            bound = {"keyName": "first", "role": "member", "client": made["id"]}
            access_key = Remote(url, admin)("api/access-keys", bound)["accessKey"]
            first = Party(url, access_key, made["id"], made["client_key"])
            kept, key = first.generate()
            first.generate()
            first.generate()
            with pytest.raises(KeyServiceUnavailable, match="429"):
                first.generate()
            assert first.retrieve(kept) == key
        finally:
            process.terminate()

    assert process.returncode == 0
    trail = [json.loads(line) for line in (tmp_path / "data" / "audit.jsonl").read_text().splitlines()]
    told = Counter((line["operation"], line["outcome"]) for line in trail)
    assert (told[("generate", "allowed")], told[("generate", "refused")]) == (3, 1)
    assert told[("retrieve", "allowed")] == 1


def test_an_access_key_s_last_use_is_shown(own: DevAuthority) -> None:
    """A key that was exchanged shows when; one that never was shows nothing."""
    before = time.time() - 60
    party(own).generate()
    access_key(own, None)

    used = {k["keyName"]: k["lastUsedAt"] for k in own.admin("api/access-keys", None, "GET")}

    assert list(used.values()).count(None) == 1
    assert before <= used["first"] <= time.time()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (["--public-url", "http://keys.example/"], "plain http"),
        (["--public-url", "ftp://keys.example/"], "not an address"),
        (["--client-ca", "ca.pem"], "--client-ca asks callers"),
        (["--listen", "0.0.0.0:0"], "without TLS"),
        (["--root-key-file", "open"], "open to others"),
        (["--workers", "2"], "put it into PostgreSQL"),
    ],
)
def test_serve_refuses_what_would_give_secrets_away(tmp_path: Path, change: list[str], reason: str) -> None:
    """Plain http to others, certificates that nobody asks for, an open root key, a file's store for two processes."""
    for name, mode in (("root", 0o600), ("open", 0o644)):
        (tmp_path / name).write_text(os.urandom(32).hex())
        (tmp_path / name).chmod(mode)
    change = [str(tmp_path / c) if c in ("open", "ca.pem") else c for c in change]
    options = {"--region": "eu-central-1", "--data": str(tmp_path / "data"), "--listen": "127.0.0.1:0"}
    options |= {"--public-url": "http://127.0.0.1/", "--root-key-file": str(tmp_path / "root")}
    options |= dict(zip(change[::2], change[1::2], strict=True))

    result = CliRunner().invoke(authority.app, ["serve", *itertools.chain(*options.items())])

    assert isinstance(result.exception, ConfigError)
    assert reason in str(result.exception)


def test_a_scraper_s_access_key_is_taken_as_it_is(own: DevAuthority) -> None:
    """Prometheus sends one fixed bearer: a monitor's access key opens /metrics, by itself, and nothing else."""
    monitor, member = access_key(own, None, "monitor"), own.env["CS_CLIENT_ACCESS_KEY"]

    def status(bearer: str, path: str = "metrics") -> int:
        reply = httpx.get(own.url + path, headers={"authorization": f"Bearer {bearer}"}, trust_env=False)
        return reply.status_code

    assert status(monitor) == 200
    assert status(member) == 403
    assert status(monitor + "x") == 401
    assert status(monitor, "api/access-keys") == 401


def test_readiness_is_tried(own: DevAuthority) -> None:
    """It says of each part whether it works; where no key could be given, it is 503."""
    assert httpx.get(own.url + "readyz", trust_env=False).json()["ready"] is True

    own.authority.trail.stopped = "the disk is gone"

    reply = httpx.get(own.url + "readyz", trust_env=False)
    assert (reply.status_code, reply.json()["audit"]) == (503, "the disk is gone")
    assert httpx.get(own.url + "healthz", trust_env=False).status_code == 200
