"""Load on an authority: requests written once, repeated on raw connections, and what they cost whom."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from worker.authority.dev import read_env
from worker.authority.remote import Remote

_SCRIPT = """
import sys
from concurrent.futures import Future
from pathlib import Path
from worker import interpreter
from worker.authority.dev import DevAuthority
getattr(interpreter, "set_up", lambda: None)()
DevAuthority.audit_sync = sys.argv[2] == "durable"
authority = DevAuthority("eu-central-1", Path(sys.argv[1]))
if sys.argv[2] == "none":
    from worker.authority.audit import Receipt
    head = authority.authority.trail.head
    done = Future()
    done.set_result(Receipt(head.place, head))
    authority.authority.trail.append = lambda _event: done
print(authority.url, flush=True)
sys.stdin.read()
"""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """One request to repeat: its whole bytes, and how many keys it asks for."""

    name: str
    request: bytes
    keys: int


@dataclass(frozen=True, slots=True)
class Measured:
    """Keys a second, p50 and p99 of a request in ms, and the authority's CPU a key in µs."""

    rate: float
    p50: float
    p99: float
    cpu: float


class Target:
    """An authority in processes of its own, and how to ask it."""

    def __init__(self, url: str, env: dict[str, str], pids: Sequence[int]) -> None:
        self.url, self.env, self.pids = url, env, pids

    def cpu_s(self) -> float:
        """Processor seconds of its processes so far."""
        return sum(_cpu_s(pid) for pid in self.pids)

    def loads(self, size: int) -> list[Load]:
        """A generate of `size` keys, and the retrieve of what it gave."""
        return loads(self.url, self.env, size)

    def measure(self, load: Load, connections: int, seconds: float) -> Measured:
        """Repeat a request on so many connections."""
        before = self.cpu_s()
        took, elapsed = asyncio.run(_repeat(self.url, load, connections, seconds))
        keys = len(took) * load.keys
        p50, p99 = took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000
        return Measured(keys / elapsed, p50, p99, (self.cpu_s() - before) / keys * 1e6)


@contextmanager
def running(directory: Path, audit: str, tree: Path | None = None) -> Iterator[Target]:
    """
    Run an authority of its own process.

    Args:
        directory: its data; made.
        audit: `durable`, `unsynced` (left to the system) or `none` (no line at all).
        tree: another version's, with the environment `.venv` that it is installed in; that one's audit is its own.
    """
    directory.mkdir()
    python = sys.executable if tree is None else str(tree / ".venv" / "bin" / "python")
    script = [python, "-c", _SCRIPT, str(directory), audit]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(script, cwd=tree, **pipes) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            yield Target(url, read_env(directory / "credentials.env"), [process.pid])
        finally:
            process.terminate()


def loads(url: str, env: dict[str, str], size: int) -> list[Load]:
    """A generate of `size` keys, and the retrieve of what it gave."""
    call = Remote(url, env["CS_CLIENT_ACCESS_KEY"])
    token = call("api/authorise", {"accessKey": env["CS_CLIENT_ACCESS_KEY"]})["accessToken"]
    ivs = [base64.b64encode(os.urandom(16)).decode() for _ in range(size)]
    items: list[dict[str, object]] = [{"iv": iv, "descriptor": "customers/email", "context": []} for iv in ivs]
    body: dict[str, object] = {"client_id": env["CS_CLIENT_ID"], "keyset_id": None, "unverified_context": {}}
    made = call("generate-data-key", {**body, "keys": items})["keys"]
    again = [{**i, "tag": list(base64.b64decode(m["tag"]))} for i, m in zip(items, made, strict=True)]
    return [
        _build("generate", "generate-data-key", token, {**body, "keys": items}, size),
        _build("retrieve", "retrieve-data-key", token, {**body, "keys": again}, size),
    ]


def _build(name: str, path: str, token: str, body: dict[str, object], keys: int) -> Load:
    data = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST /{path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return Load(name, head.encode() + data, keys)


async def _repeat(url: str, load: Load, connections: int, seconds: float) -> tuple[list[float], float]:
    took: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(one(url, load, began + seconds, took) for _ in range(connections)))
    return sorted(took), time.perf_counter() - began


async def one(url: str, load: Load, until: float, took: list[float]) -> None:
    """Repeat a request on one connection until a time, and keep how long each took."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(load.request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(head.decode())
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        took.append(time.perf_counter() - began)
    writer.close()
    await writer.wait_closed()


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
