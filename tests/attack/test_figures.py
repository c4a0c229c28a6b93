"""What a legitimate client's derivation takes while somebody attacks, against what it takes in peace, in one run."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.bench.authority_load import Load, loads, one
from worker.authority.audit import Trail, TrailKeys
from worker.authority.dev import read_env
from worker.authority.remote import Remote

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
WINDOW_S = float(os.environ.get("ATTACK_WINDOW_S", "2"))
WINDOWS = 5
STOLEN = {"auditor": "auditor", "contexts": "member", "odd": "member"}
"""Attacks with a stolen credential, and its role."""
LINES = 100_000
_SCRIPT = """
import sys, threading
from pathlib import Path
from worker import log
from worker.authority.dev import DevAuthority
log.configure()
authority = DevAuthority("eu-central-1", Path(sys.argv[1]))
print(authority.url, flush=True)
threading.Event().wait()
"""


@contextlib.contextmanager
def running(*command: str) -> Iterator[str]:
    """A process of our own, and the first line that it writes."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """An authority in a process of its own, which trusts a provider that takes connections and never answers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, hard), hard))
    directory = tmp_path_factory.mktemp("attack")
    _long_trail(directory)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as hanging, running("-c", _SCRIPT, str(directory)) as url:
        env = read_env(directory / "credentials.env")
        uri = f"https://127.0.0.1:{hanging.getsockname()[1]}/jwks.json"
        provider = {"issuer": "https://idp.example/", "vendor": "okta", "audience": "app", "jwks_uri": uri}
        Remote(url, env["CS_ADMIN_ACCESS_KEY"])("api/oidc/providers", {**provider, "default_role": "member"})
        yield url, env
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def p99(url: str, load: Load) -> float:
    """The 99th percentile of a request's milliseconds over one window, on one connection at a time."""

    took: list[float] = []
    for _ in range(4):
        # A connection anew each quarter: a client that comes in the middle of it gets in too.
        asyncio.run(one(url, load, time.perf_counter() + WINDOW_S / 4, took))
    took.sort()
    return took[int(len(took) * 0.99)] * 1000


@pytest.mark.parametrize("kind", ["silent", "trickling", "tokens", "oidc", "bodies", "pieces", "headers", *STOLEN])
def test_a_legitimate_client_hardly_notices(
    stand: tuple[str, dict[str, str]], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its p99 is at most twice the quiet one, the median of windows in turns, and health answers."""
    url, env = stand
    load = loads(url, env, 1)[0]
    known = _token(url, env, STOLEN[kind]) if kind in STOLEN else env["CS_WORKSPACE_CRN"].rpartition(":")[2]
    p99(url, load)
    quiet, attacked, healthy = [], [], []
    for _ in range(WINDOWS):
        quiet.append(p99(url, load))
        with running("-m", "tests.attack.attackers", kind, url, known) as line:
            assert line == "ready"
            prober = threading.Thread(target=lambda: healthy.append(_health(url)))
            prober.start()
            attacked.append(p99(url, load))
            prober.join()
    ratio = statistics.median(attacked) / statistics.median(quiet)
    with capsys.disabled():
        print(
            f"\n{kind}: p99 quiet {statistics.median(quiet):.2f} ms, attacked {statistics.median(attacked):.2f} ms, "
            f"ratio {ratio:.2f}"
        )

    assert healthy == [200] * WINDOWS
    assert ratio <= 2


def _token(url: str, env: dict[str, str], role: str) -> str:
    admin = Remote(url, env["CS_ADMIN_ACCESS_KEY"])
    key = admin("api/access-keys", {"keyName": os.urandom(8).hex(), "role": role})["accessKey"]
    token: str = admin("api/authorise", {"accessKey": key})["accessToken"]
    return token


def _long_trail(directory: Path) -> None:
    """Leave a trail that takes long to read."""
    trail = Trail(
        directory / "audit.jsonl", TrailKeys(bytes(32), Ed25519PrivateKey.generate()), "eu-central-1", sync=False
    )
    for number in range(LINES):
        trail.append(
            {"operation": "generate", "workspace": "W" * 16, "outcome": "allowed", "descriptors": {"c/name": number}}
        )
    trail.close()


def _health(url: str) -> int:
    return httpx.get(url + "healthz", timeout=5, trust_env=False).status_code
