"""
What an erasable keyset costs the authority beside another one, in one run: processor time a key, and its state.

The authority runs in a process of its own, whose processor time is read before and after each round; the rounds of
both keysets take turns, and the figure is the median of their ratios. Every context of "one key a context" is new, so
that each costs its 64 hashes.
"""

from __future__ import annotations

import base64
import itertools
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
_KEYS, _ROUNDS, _REQUESTS = 1000, int(os.environ.get("BENCH_ROUNDS", "9")), 12
_ERASURES = 10_000
_TICKS = os.sysconf("SC_CLK_TCK")


def processor_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Stand:
    """An authority with a keyset of either kind, and a client of both."""

    def __init__(self, pid: int, env: dict[str, str]) -> None:
        self.pid, self.env = pid, env
        self.admin = Remote(env["CS_ZEROKMS_HOST"], env["CS_ADMIN_ACCESS_KEY"])
        self.client = Remote(env["CS_ZEROKMS_HOST"], env["CS_CLIENT_ACCESS_KEY"])
        self._numbers = itertools.count()
        for name, erasable in (("plain", False), ("people", True)):
            self.admin("create-keyset", {"name": name, "description": name, "erasable": erasable})
            self.admin("grant-keyset", {"client_id": env["CS_CLIENT_ID"], "keyset_id": {"Name": name}})

    def contexts(self, per_context: int) -> Iterator[list[dict[str, Any]]]:
        """Contexts for one request."""
        for _ in range(0, _KEYS, per_context):
            number = next(self._numbers)
            yield from itertools.repeat([{"Value": ["customer_id", str(number)]}], per_context)

    def round(self, keyset: str, per_context: int) -> float:
        """Processor time of the authority a key, in microseconds."""
        bodies = []
        for _ in range(_REQUESTS):
            ivs = (base64.b64encode(os.urandom(16)).decode() for _ in range(_KEYS))
            keys = [
                {"iv": iv, "descriptor": "customers/email", "context": context}
                for iv, context in zip(ivs, self.contexts(per_context), strict=False)
            ]
            head = {"client_id": self.env["CS_CLIENT_ID"], "keyset_id": {"Name": keyset}, "unverified_context": {}}
            bodies.append(head | {"keys": keys})
        before = processor_s(self.pid)
        for body in bodies:
            self.client("generate-data-key", body)
        return (processor_s(self.pid) - before) / (_REQUESTS * _KEYS) * 1e6


def cost(stand: Stand, per_context: int) -> tuple[float, float, float]:
    """Microseconds a key of either keyset, and the median ratio."""
    stand.round("plain", per_context), stand.round("people", per_context)
    pairs = [(stand.round("plain", per_context), stand.round("people", per_context)) for _ in range(_ROUNDS)]
    plain, erasable = (statistics.median(each) for each in zip(*pairs, strict=True))
    return plain, erasable, statistics.median(b / a for a, b in pairs)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as directory:
        with subprocess.Popen([sys.executable, "-c", _SCRIPT, directory], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            env = {**read_env(Path(directory) / "credentials.env"), "CS_ZEROKMS_HOST": url}
            stand = Stand(process.pid, env)
            print(f"{'keys a context':<16}{'plain us':>10}{'erasable us':>13}{'ratio':>8}")
            for per_context in (1000, 1):
                plain, erasable, ratio = cost(stand, per_context)
                print(f"{per_context:<16}{plain:>10.1f}{erasable:>13.1f}{ratio:>8.2f}", flush=True)
            began, before = time.perf_counter(), size(Path(directory))
            for start in range(0, _ERASURES, _KEYS):
                values = [["customer_id", f"erased-{n}"] for n in range(start, start + _KEYS)]
                stand.admin("api/erase", {"keyset_id": {"Name": "people"}, "values": values})
            took = time.perf_counter() - began
            process.terminate()
        grown = size(Path(directory)) - before
        print(f"{_ERASURES} erasures in {took:.1f} s: {grown / _ERASURES:.0f} bytes each in the database")


def size(directory: Path) -> int:
    """Bytes of the database with nothing left in its log."""
    with sqlite3.connect(directory / "authority.sqlite", timeout=30) as connection:
        pages, free, page = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    connection.close()
    return int((pages - free) * page)


if __name__ == "__main__":
    main()
