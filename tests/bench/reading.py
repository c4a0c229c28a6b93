"""
`make bench-read`: `worker decrypt` of a topic, a line of JSON a record, beside another version of itself.

The worker writes both topics, `leased` and `record`, from records of 8 fields, 3 of them encrypted. Each way reads them
in turns; what a read of one record takes, start and keys with it, is not part of the figures. AGAINST names work trees
of other versions, each of which is run as it stands. What counts are the ratios of one run: medians of ROUNDS rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tests.bench.hot_worker import FEW, Stand, Way, descendants, memory_mb, run
from tests.bench.loop import PARTITIONS, SCHEMA, SOURCE, fill
from tests.components import Kafka
from tests.program import COMMAND
from worker.authority.dev import DevAuthority
from worker.avro import DeclarationOptions, compile_schema
from worker.local import LocalKafka

ROOT = Path(__file__).parents[2]
WAYS = (Way("leased", "at-least-once"), Way("record", "at-least-once", "record"))


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds by the wall clock, CPU seconds of the reader, and its largest memory."""

    seconds: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Reader:
    """A version of the command: its tree, and variables besides."""

    name: str
    tree: Path
    environ: tuple[tuple[str, str], ...] = ()

    def read(self, stand: Stand, way: Way, topic: str, limit: int) -> Reading:
        """Read so many records, and count the lines."""
        schema = stand.work / f"{way.format}.avsc"
        kafka = [f"--property={name}={value}" for name, value in stand.kafka.properties.items()]
        command = [*COMMAND, "decrypt", "--topic", topic, "--bootstrap", stand.kafka.bootstrap, *kafka]
        command += ["--schema", str(schema), "--limit", str(limit)]
        environ = {**os.environ, **stand.env, "PYTHONPATH": str(self.tree), **dict(self.environ)}
        lines, start, peak_mb = stand.work / "lines", time.monotonic(), 0.0
        with lines.open("wb") as out:
            child = subprocess.Popen(command, cwd=self.tree, env=environ, stdout=out)
            while True:
                pid, status, used = os.wait4(child.pid, os.WNOHANG)
                if pid:
                    break
                peak_mb = max(peak_mb, memory_mb(child.pid))
                time.sleep(0.02)
        seconds, child.returncode = time.monotonic() - start, os.waitstatus_to_exitcode(status)
        with lines.open("rb") as written:
            count = sum(1 for _ in written)
        if child.returncode or count != limit:
            raise RuntimeError(f"{self.name} ended with {child.returncode} after {count} of {limit} lines")
        return Reading(seconds, used.ru_utime + used.ru_stime, peak_mb)

    def measured(self, stand: Stand, way: Way, topic: str, count: int) -> Reading:
        """Return what the records take beside a start."""
        whole, start = self.read(stand, way, topic, count), self.read(stand, way, topic, 1)
        return Reading(whole.seconds - start.seconds, whole.cpu_s - start.cpu_s, whole.peak_mb)


def report(way: Way, count: int, found: dict[str, list[Reading]]) -> None:
    """Print the figures, and their ratios to the first reader's."""
    middle = {
        name: Reading(*(median(getattr(each, part) for each in rounds) for part in Reading.__slots__))
        for name, rounds in found.items()
    }
    first = next(iter(middle.values()))
    print(f"{way.name}, {count:,} records".ljust(44), "records/s   us CPU  peak MB   rate    CPU")
    for name, each in middle.items():
        print(
            f"  {name:<40}{count / each.seconds:>12,.0f}{each.cpu_s / count * 1e6:>9.2f}{each.peak_mb:>9.0f}"
            f"{first.seconds / each.seconds:>7.2f}{first.cpu_s / each.cpu_s:>7.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, nargs="*", default=[], help="work trees of other versions")
    asked = parser.parse_args()
    others = [Reader(f"{tree}", tree.resolve()) for tree in asked.against]
    readers = [*others, Reader("without the extension", ROOT, (("WORKER_NATIVE", "0"),)), Reader("this", ROOT)]
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = stack.enter_context(LocalKafka())
        kafka = Kafka(local.bootstrap, local.cluster_id, dict(local.properties))
        authority = stack.enter_context(DevAuthority("eu-central-1", work / "authority"))
        stand = Stand(kafka, dict(authority.env), work, "", tuple(descendants(os.getpid())))
        for number, way in enumerate(WAYS):
            count = {SOURCE: asked.records, FEW: max(1, asked.records // 10)}[way.source]
            kafka.create_topic(way.source, partitions=PARTITIONS)
            kafka.create_topic(f"{way.source}.dead", config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
            fill(kafka, way.source, count)
            declared = compile_schema(SCHEMA.read_text(), DeclarationOptions(format=way.format))
            (work / f"{way.format}.avsc").write_text(declared.plan.output_schema)
            _, topic = run(stand, way, number, 0)
            found: dict[str, list[Reading]] = {reader.name: [] for reader in readers}
            for _ in range(asked.rounds):
                for reader in readers:
                    found[reader.name].append(reader.measured(stand, way, topic, count))
            report(way, count, found)


if __name__ == "__main__":
    main()
