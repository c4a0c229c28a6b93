"""
`make bench`: the worker beside loops by hand in C and in Python and a copy loop, in one interleaved run.

All read one topic. Into Kafka, the C encryptor (`encryptor.c`) is linked to the very librdkafka that confluent-kafka
brings, writes values of a lease's size with the worker's producer settings, and is left out where no C compiler is.
Confluent's CSFLE client runs in an environment of its own. Into PostgreSQL, a loop copies rows that were made before.
The slow ones (plain Python, CSFLE, a key a value) read a tenth of the records. Medians of ROUNDS rounds; what counts
are the ratios of one run. Afterwards every record that the worker wrote in the first round is opened and compared with
its source. Five rounds of a million records take about a quarter of an hour on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

import confluent_kafka

from tests.bench import hot_csfle
from tests.bench.hot_compare import Comparison, bytes_each, table_bytes_each
from tests.bench.hot_table import copied
from tests.bench.hot_worker import BATCH, FEW, Figures, Stand, Way, descendants, run
from tests.bench.loop import PARTITIONS, SOURCE, fill, in_process, plain_encryptor
from tests.components import Kafka, running_postgres
from worker.authority.dev import DevAuthority
from worker.local import LocalKafka
from worker.local.postgres import create_database

HEADER_BYTES = 96
"""A lease's header here: 34 bytes, a tag of 32 and a descriptor of 20, their lengths, and 8 of the type."""
ALO, EO = "at-least-once", "exactly-once"
WAYS = (
    Way("worker, nothing declared", ALO, encrypts=False),
    Way("worker, leased", ALO),
    Way("worker, leased, exactly once", EO),
    Way("worker, leased, 2 processes", ALO, processes=2),
    Way("worker, record", ALO, "record"),
    Way("worker, record, exactly once", EO, "record"),
    Way("worker, leased, append", EO, table="append"),
    Way("worker, leased, upsert", EO, table="upsert"),
    Way("worker, record, append", EO, "record", table="append"),
)
Contestant = Callable[[int], Figures]


def compiled(work: Path) -> Path | None:
    """Return the C encryptor, None where it can't be built."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    libraries = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    library = next(iter(libraries.glob("librdkafka*.so*")), None)
    if compiler is None or library is None:
        return None
    program, source = work / "encryptor", Path(__file__).with_name("encryptor.c")
    command = [compiler, "-O2", "-march=native", "-o", str(program), str(source), str(library), "-lcrypto"]
    built = subprocess.run([*command, f"-Wl,-rpath,{libraries}"], capture_output=True, text=True, check=False)
    return program if built.returncode == 0 else None


def by_hand(stand: Stand, program: Path, mode: str, count: int, turn: int) -> Figures:
    """Run the C encryptor."""
    target = stand.kafka.create_topic(f"{mode}-{turn}", partitions=PARTITIONS)
    fixed = [stand.kafka.bootstrap, SOURCE, target, str(count), mode, str(HEADER_BYTES), str(BATCH), "lz4"]
    told = json.loads(subprocess.run([str(program), *fixed], capture_output=True, text=True, check=True).stdout)
    assert told["records"] == count
    return Figures(told["seconds"], told["cpu_s"])


def in_python(stand: Stand, name: str, source: str, change: Callable[[list[bytes]], list[bytes]], turn: int) -> Figures:
    """Run a loop over confluent-kafka in this process."""
    target = stand.kafka.create_topic(f"{name.replace(' ', '-')}-{turn}", partitions=PARTITIONS)
    result = in_process(name, stand.kafka, source, target, change)
    return Figures(result.seconds, result.cpu_s)


def into_table(stand: Stand, upsert: bool, turn: int) -> Figures:
    """Run the loop that copies ready-made rows."""
    return copied(stand, create_database(stand.postgres), upsert=upsert)


def by_worker(stand: Stand, way: Way, places: dict[Way, str], turn: int) -> Figures:
    """Run the worker, and note where the first round's output is."""
    figures, place = run(stand, way, WAYS.index(way), turn)
    places.setdefault(way, place)
    return figures


def contestants(
    stand: Stand, program: Path | None, count: int, places: dict[Way, str], wanted: Callable[[str], bool]
) -> Iterator[tuple[str, str, Contestant]]:
    """Yield every contestant, the topic that it reads, and what runs its next round."""
    yield "copy loop", SOURCE, partial(in_python, stand, "copy loop", SOURCE, lambda values: values)
    yield "plain Python", FEW, partial(in_python, stand, "plain Python", FEW, plain_encryptor())
    if wanted("CSFLE") and (python := hot_csfle.interpreter()) is not None:
        yield "CSFLE", FEW, partial(hot_csfle.encrypted, stand, python)
    if program is not None:
        for name, mode in (("C, copy", "copy"), ("C", "seal"), ("C, transactions", "seal-txn")):
            yield name, SOURCE, partial(by_hand, stand, program, mode, count)
    yield "COPY of ready rows", SOURCE, partial(into_table, stand, False)
    yield "upsert of ready rows", SOURCE, partial(into_table, stand, True)
    for way in WAYS:
        yield way.name, way.source, partial(by_worker, stand, way, places)


def report(results: dict[str, Figures], counts: dict[str, int]) -> None:
    """Print the figures, and their ratios to who does the same by hand."""
    head = ("contestant", "records/s", "CPU s/M", "authority", "broker", "peak MB", "rate", "CPU", "of")
    print("{:<32}{:>11}{:>9}{:>11}{:>9}{:>9}{:>7}{:>7}  {}".format(*head))
    for name, each in results.items():
        base = _base(name, results)
        other, per, per_other = results[base], 1e6 / counts[name], 1e6 / counts[base]
        print(
            f"{name:<32}{1e6 / per / each.seconds:>11,.0f}{each.cpu_s * per:>9.2f}{each.authority_s * per:>11.2f}"
            f"{each.broker_s * per:>9.2f}{each.peak_mb:>9.0f}{other.seconds * per_other / (each.seconds * per):>7.2f}"
            f"{each.cpu_s * per / (other.cpu_s * per_other):>7.2f}  {base}"
        )


def _base(name: str, results: dict[str, Figures]) -> str:
    tables = {"upsert": "upsert of ready rows", "append": "COPY of ready rows", "COPY": "COPY of ready rows"}
    table = next((other for word, other in tables.items() if word in name), None)
    if table is not None:
        return table if table in results else name
    if "nothing" in name or name == "copy loop":
        return "copy loop" if "copy loop" in results else name
    by_hand = "C, transactions" if "exactly once" in name or "transactions" in name else "C"
    return next(each for each in (by_hand, "copy loop", name) if each in results)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="a regular expression: run the contestants whose names it finds")
    parser.add_argument("--skip", default="^$", help="another: leave out the contestants whose names it finds")
    parser.add_argument("--json", type=Path, help="where to write every round's figures")
    asked = parser.parse_args()
    places: dict[Way, str] = {}
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        local = stack.enter_context(LocalKafka())
        kafka = Kafka(local.bootstrap, local.cluster_id, dict(local.properties))
        brokers = tuple(descendants(os.getpid()))
        postgres = stack.enter_context(running_postgres())
        authority = stack.enter_context(DevAuthority("eu-central-1", work / "authority"))
        stand = Stand(kafka, dict(authority.env), work, postgres, brokers)
        of = {SOURCE: asked.records, FEW: max(1, asked.records // 10)}
        for topic, count in of.items():
            kafka.create_topic(topic, partitions=PARTITIONS)
            kafka.create_topic(f"{topic}.dead", config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
            fill(kafka, topic, count)

        def wanted(name: str) -> bool:
            return bool(re.search(asked.only, name)) and not re.search(asked.skip, name)

        every = contestants(stand, compiled(work), asked.records, places, wanted)
        runs = {name: (source, go) for name, source, go in every if wanted(name)}
        counts = {name: of[source] for name, (source, _) in runs.items()}
        rounds = [{name: go(turn) for name, (_, go) in runs.items()} for turn in range(asked.rounds)]
        results = {name: _median([each[name] for each in rounds]) for name in runs}
        report(results, counts)
        comparison = Comparison(stand, of)
        sizes: dict[str, dict[str, float]] = {}
        for way, place in places.items():
            comparison.check(way, place)
            if way.table:
                sizes[way.name] = {"table": table_bytes_each(place, counts[way.name])}
            elif way.mode == ALO and way.processes == 1:
                sizes[way.name] = bytes_each(stand, place, counts[way.name], local.data())
    for name, each in sizes.items():
        print(f"{name}, bytes a record: " + ", ".join(f"{where} {size:.0f}" for where, size in each.items()))
    if asked.json is not None:
        told = [{name: vars_of(figures) for name, figures in each.items()} for each in rounds]
        asked.json.write_text(json.dumps({"records": counts, "rounds": told, "bytes": sizes}, indent=1))


def vars_of(figures: Figures) -> dict[str, float]:
    """Return figures by their names."""
    return {name: getattr(figures, name) for name in Figures.__slots__}


def _median(rounds: list[Figures]) -> Figures:
    return Figures(*(median(getattr(each, name) for each in rounds) for name in Figures.__slots__))


if __name__ == "__main__":
    main()
