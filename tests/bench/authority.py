"""
Keys a second of the authority, by request size and connections, and what its durable audit costs of that.

The authority runs in processes of its own; the load comes from this one on raw connections and shares the machine
with it, so the figures are what both together reach. Of the audit the same request is repeated, in turns, to an
authority that makes its lines durable before an answer leaves, to one that leaves them to the system, and to one that
writes none; the shares are medians of the rounds' own.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench.authority_load import Load, Target, running

_SECONDS = float(os.environ.get("BENCH_S", "2"))
_ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
_SIZES = (500, 50, 1)
_CONNECTIONS = (1, 8, 64)
_AUDITS = ("none", "unsynced", "durable")


def table(target: Target) -> None:
    """Print rates and times of the authority as an operator runs it."""
    print(f"{'operation':<10}{'keys':>6}{'conns':>7}{'keys/s':>10}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs/key':>12}")
    for size in _SIZES:
        for load in target.loads(size):
            for connections in _CONNECTIONS:
                m = target.measure(load, connections, _SECONDS)
                print(
                    f"{load.name:<10}{size:>6}{connections:>7}{m.rate:>10,.0f}{m.p50:>9.1f}{m.p99:>9.1f}{m.cpu:>12.1f}",
                    flush=True,
                )


def audit_cost(targets: dict[str, Target], size: int, connections: int) -> None:
    """Print each audit's rate beside none's, generate and retrieve."""
    loads: dict[str, list[Load]] = {audit: target.loads(size) for audit, target in targets.items()}
    for number, name in enumerate(("generate", "retrieve")):
        shares: dict[str, list[float]] = {audit: [] for audit in targets}
        rates: dict[str, list[float]] = {audit: [] for audit in targets}
        for turn in range(_ROUNDS):
            order = [*targets][turn % len(targets) :] + [*targets][: turn % len(targets)]
            for audit in order:
                measured = targets[audit].measure(loads[audit][number], connections, _SECONDS / 4)
                rates[audit].append(measured.rate)
            for audit in targets:
                shares[audit].append(rates[audit][-1] / rates["none"][-1])
        told = "  ".join(f"{a} {median(rates[a]):>7,.0f} ({median(shares[a]):.2f})" for a in targets)
        print(f"{name:<10}{size:>6}{connections:>7}  {told}", flush=True)


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name, ExitStack() as stack:
        targets = {audit: stack.enter_context(running(Path(name) / audit, audit)) for audit in _AUDITS}
        if _ROUNDS:
            print("keys/s by audit, and the share of none's rate")
            print(f"{'operation':<10}{'keys':>6}{'conns':>7}")
            for size in _SIZES:
                for connections in _CONNECTIONS:
                    audit_cost(targets, size, connections)
            print()
        table(targets["durable"])


if __name__ == "__main__":
    main()
