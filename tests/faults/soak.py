"""
`make soak`: every topology under every fault, with a report.

    python -m tests.faults.soak --seed 7 --records 100000

The seed draws lanes, places, hits, faults, targets and delays; when two threads meet is the machine's affair.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.faults.chaos import Chaos
from tests.faults.fleet import PLACES, TICK_S, Fleet
from tests.faults.records import PARTITIONS, Input
from tests.faults.stand import TOPOLOGIES, Stand, Topology, prepare, three_brokers
from tests.faults.verdict import Judge, Verdict
from tests.faults.watch import TableWatch, TopicWatch

FAULTS = (
    ("kill",) * 3
    + ("add",) * 3
    + ("remove",) * 3
    + ("kill all", "stall", "long stall", "leaderless", "grow")
    + ("clock",) * 2
    + ("broker",) * 2
    + ("authority",) * 2
)
BOUND_BYTES = 256 << 20
"""What one worker process may have resident at most."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much one topology is put through."""

    seed: int
    records: int
    faults: Sequence[str]
    rate: float = 6_000.0
    sample: int = 5_000
    hits: tuple[int, int] = (5, 60)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one topology went through, and what became of it."""

    topology: str
    seconds: float
    verdict: Verdict
    faults: list[dict[str, Any]]
    died_at: dict[str, int]
    starts: int
    peak_rss_bytes: int
    paused_s: dict[str, float]
    looks: int

    @property
    def findings(self) -> list[str]:
        return self.verdict.findings


def put_through(stand: Stand, topology: Topology, plan: Plan) -> Outcome:
    """Run one topology to its end."""
    began = time.monotonic()
    first = PARTITIONS - 1 if "grow" in plan.faults else PARTITIONS
    place = prepare(stand, topology, f"{topology.name}-{plan.seed:x}", partitions=first)
    given = Input(
        stand.kafka.client,
        place.source,
        seed=plan.seed,
        lanes=topology.lanes,
        tombstones=topology.sink == "upsert",
        partitions=first,
    )
    watch = (TopicWatch if topology.sink == "kafka" else TableWatch)(stand, place, given)
    fleet = Fleet(stand, place, seed=plan.seed, on_death=watch.look_now, hits=plan.hits)
    producing = threading.Thread(target=given.run, args=(plan.rate,), name="input")
    with ExitStack() as stack:
        stack.callback(producing.join)
        stack.callback(given.stop)
        stack.callback(watch.close)
        stack.callback(fleet.close)
        producing.start()
        watch.start()
        fleet.start("w0", "w1")
        if topology.start == "latest":
            watch.await_start()
        chaos = Chaos(stand, place, fleet, watch, given, seed=plan.seed)
        chaos.run(chaos.plan(plan.faults), plan.records)
        chaos.settle()
        fleet.stop()
    written = {**fleet.logs(), **{f"metrics of {name}": text for name, text in fleet.metrics.items()}}
    verdict = Judge(stand, place, given, written, sample=plan.sample).judge()
    verdict.findings += [*watch.findings, *chaos.findings, *fleet.figures.findings]
    if fleet.figures.peak_rss_bytes > BOUND_BYTES:
        verdict.findings.append(f"a worker had {fleet.figures.peak_rss_bytes >> 20} MiB resident")
    return Outcome(
        topology.name,
        round(time.monotonic() - began, 1),
        verdict,
        [asdict(fault) for fault in chaos.done],
        dict(fleet.figures.died_at),
        fleet.figures.starts,
        fleet.figures.peak_rss_bytes,
        {reason: round(n * TICK_S, 1) for reason, n in fleet.figures.paused_ticks.items()},
        watch.looks,
    )


def report(outcomes: Sequence[Outcome], seed: int) -> str:
    """Write the run as Markdown."""
    lines = [f"# Soak, seed {seed}", ""]
    lines += ["| topology | records | in the sink | duplicates | dead | findings | peak MiB | looks | seconds |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for o in outcomes:
        v = o.verdict
        cells = (o.topology, v.records, v.in_sink, v.duplicates, v.dead, len(v.findings), o.peak_rss_bytes >> 20)
        lines.append("| " + " | ".join(map(str, (*cells, o.looks, o.seconds))) + " |")
    for o in outcomes:
        v = o.verdict
        lines += ["", f"## {o.topology}", ""]
        faults = [f"{fault['name']} at {fault['at_s']} s, {fault['recovered_s']} s" for fault in o.faults]
        lines += [f"- faults, each with the time to recover: {'; '.join(faults)}"]
        lines += [f"- processes started {o.starts}, killed at {o.died_at}; never at {_never(o)}"]
        lines += [f"- paused (process seconds): {o.paused_s}; keys: {v.keys}"]
        lines += [
            f"- {v.decrypted} records decrypted, {v.scanned_bytes >> 20} MiB searched, dead twice {v.dead_duplicates}"
        ]
        lines += [f"- FINDING: {each}" for each in v.findings]
    return "\n".join(lines) + "\n"


def _never(outcome: Outcome) -> str:
    return ", ".join(place for place in PLACES if place not in outcome.died_at) or "none"


def main() -> int:
    """Run what is asked for; returns 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--records", type=int, default=100_000, help="for each topology")
    parser.add_argument("--topology", choices=TOPOLOGIES, action="append")
    parser.add_argument("--out", type=Path, default=Path(".run/soak"))
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is stopped
    print(f"seed {asked.seed}", flush=True)
    asked.out.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="soak-") as directory, three_brokers(Path(directory)) as stand:
        print(f"everything is up: {stand.directory}", flush=True)
        for name in asked.topology or TOPOLOGIES:
            topology = TOPOLOGIES[name]
            database = () if topology.sink == "kafka" else ("database",) * 3
            outcome = put_through(stand, topology, Plan(asked.seed, asked.records, (*FAULTS, *database)))
            outcomes.append(outcome)
            print(f"{name}: {outcome.verdict.records} records, {len(outcome.findings)} findings", flush=True)
            path = asked.out / f"seed-{asked.seed}"
            path.with_suffix(".md").write_text(report(outcomes, asked.seed))
            path.with_suffix(".json").write_text(json.dumps([asdict(each) for each in outcomes], indent=1))
            if outcome.findings:
                shutil.copytree(stand.directory, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("authority"))
    print(report(outcomes, asked.seed))
    return 1 if any(each.findings for each in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
