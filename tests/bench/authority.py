"""
Keys a second of the authority, by request size and connections, and what its durable audit costs of that.

The authority runs in processes of its own; the load comes from this one on raw connections and shares the machine
with it, so the figures are what both together reach. Of the audit the same request is repeated, in turns, to an
authority that makes its lines durable before an answer leaves, to one that leaves them to the system, and to one that
writes none; the shares are medians of the rounds' own. Of `serve --workers 2` it is the processor time of a key that is
set beside one process's, both over PostgreSQL.

`python -m tests.bench.authority --beside TREE` prints instead the rates beside those of another version, whose checkout
TREE holds the environment `.venv` that it is installed in: both with their audits on, the same requests, in turns.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.authorities import Enrolled, Served
from tests.bench.authority_load import Load, Target, running
from tests.components import running_postgres
from worker.local.postgres import create_database

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


def processes(directory: Path) -> None:
    """Print what a key costs of two processes, beside one."""
    with running_postgres() as postgres, ExitStack() as stack:
        targets = []
        for count in (1, 2):
            dsn = create_database(postgres, region=None)
            served = stack.enter_context(Served(directory / f"workers-{count}", dsn, "--workers", str(count)))
            client = Enrolled(served)
            env = {"CS_CLIENT_ACCESS_KEY": client.access_key, "CS_CLIENT_ID": client.client_id}
            targets.append(Target(served.url, env, [served.process.pid, *served.children()]))
        loads = [target.loads(500) for target in targets]
        for number, name in enumerate(("generate", "retrieve")):
            costs: list[list[float]] = [[], []]
            for _ in range(_ROUNDS):
                for each, target in enumerate(targets):
                    costs[each].append(target.measure(loads[each][number], 8, _SECONDS / 2).cpu)
            one, two = (median(each) for each in costs)
            print(f"{name:<10} CPU µs/key: one process {one:.1f}, two {two:.1f} ({two / one:.2f})", flush=True)


def versions(directory: Path, tree: Path) -> None:
    """Print the rates beside another version's."""
    print(f"{'operation':<10}{'keys':>6}{'conns':>7}{'keys/s':>10}{'of TREE':>10}{'ratio':>7}")
    with running(directory / "own", "durable") as own, running(directory / "other", "durable", tree.resolve()) as other:
        targets = (own, other)
        loads = [target.loads(_SIZES[0]) for target in targets]
        for connections in _CONNECTIONS:
            for number, name in enumerate(("generate", "retrieve")):
                rates: list[list[float]] = [[], []]
                for turn in range(_ROUNDS):
                    for at in (0, 1) if turn % 2 else (1, 0):
                        rates[at].append(targets[at].measure(loads[at][number], connections, _SECONDS / 2).rate)
                ratio = median(mine / its for mine, its in zip(*rates, strict=True))
                one, two = map(median, rates)
                print(f"{name:<10}{_SIZES[0]:>6}{connections:>7}{one:>10,.0f}{two:>10,.0f}{ratio:>7.1f}", flush=True)


def main() -> None:
    """Print the tables."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--beside", type=Path, metavar="TREE")
    tree: Path | None = arguments.parse_args().beside
    if tree is None:
        tables()
        return
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as name:
        versions(Path(name), tree)


def tables() -> None:
    """Print what one authority reaches, and what its audit and processes cost."""
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
    with tempfile.TemporaryDirectory() as name:
        print("\nprocessor time of a key, 8 connections, 500 keys a request, over PostgreSQL")
        processes(Path(name))


if __name__ == "__main__":
    main()
