"""
Keys a second of one authority process, by request size and connections, with p50 and p99 of a request.

The authority runs in a process of its own; the load comes from this one on raw connections and shares the machine
with it, so the figures are what both together reach.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from worker.authority.dev import read_env
from worker.authority.remote import Remote

_SCRIPT = """
import sys, threading
from pathlib import Path
from worker.authority.dev import DevAuthority
authority = DevAuthority("eu-central-1", Path(sys.argv[1]))
print(authority.url, flush=True)
threading.Event().wait()
"""
_SECONDS = float(os.environ.get("BENCH_S", "2"))


@dataclass(frozen=True, slots=True)
class Load:
    """One request to repeat: its whole bytes, and how many keys it asks for."""

    name: str
    request: bytes
    keys: int


def build(name: str, path: str, token: str, body: dict[str, object], keys: int) -> Load:
    """Write a request once."""
    data = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST /{path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    )
    return Load(name, head.encode() + data, keys)


async def one(url: str, load: Load, until: float, took: list[float]) -> None:
    """Repeat a request on one connection."""
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


async def measure(url: str, load: Load, connections: int) -> tuple[float, float, float]:
    """Return keys a second, and p50 and p99 of a request in milliseconds."""
    took: list[float] = []
    began = time.perf_counter()
    await asyncio.gather(*(one(url, load, began + _SECONDS, took) for _ in range(connections)))
    elapsed = time.perf_counter() - began
    took.sort()
    return len(took) * load.keys / elapsed, took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000


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
        build("generate", "generate-data-key", token, {**body, "keys": items}, size),
        build("retrieve", "retrieve-data-key", token, {**body, "keys": again}, size),
    ]


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as directory:
        script = [sys.executable, "-c", _SCRIPT, directory]
        with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            env = read_env(Path(directory) / "credentials.env")
            print(f"{'operation':<10}{'keys':>6}{'conns':>7}{'keys/s':>10}{'p50 ms':>9}{'p99 ms':>9}")
            for size in (1, 50, 500):
                for load in loads(url, env, size):
                    for connections in (1, 8, 64):
                        rate, p50, p99 = asyncio.run(measure(url, load, connections))
                        print(
                            f"{load.name:<10}{size:>6}{connections:>7}{rate:>10,.0f}{p50:>9.1f}{p99:>9.1f}", flush=True
                        )
            process.terminate()


if __name__ == "__main__":
    main()
