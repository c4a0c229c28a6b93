"""
`make bench`: the worker beside a loop by hand in C, in Python, and a copy loop, in one interleaved run.

All read one topic and write one each on the same broker. The C encryptor (`encryptor.c`) is linked to the very
librdkafka that confluent-kafka brings, writes values of a lease's size with the worker's producer settings, and is left
out where no C compiler is. Medians of ROUNDS rounds; what counts are the ratios of one run. Afterwards every record
that the worker wrote is decrypted and compared with its source.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urlsplit

import confluent_kafka
import fastavro
from confluent_kafka import Consumer, KafkaError, TopicPartition

from tests.bench.loop import (
    PARTITIONS,
    SCHEMA,
    SOURCE,
    VARIANTS,
    Result,
    Variant,
    fill,
    in_process,
    plain_encryptor,
    worker,
)
from tests.components import Kafka, running_kafka
from worker.authority.dev import DevAuthority
from worker.avro import DeclarationOptions, compile_schema
from worker.sdk import Encryption

HEADER_BYTES = 96
"""A lease's header here: 34 bytes, a tag of 32 and a descriptor of 20, their lengths, and 8 of the type."""
EVERY = 10_000
Contestant = Callable[[str], Result]


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


def by_hand(program: Path, kafka: Kafka, mode: str, count: int, name: str) -> Contestant:
    """Return a run of the C encryptor."""

    def run(target: str) -> Result:
        fixed = [kafka.bootstrap, SOURCE, target, str(count), mode, str(HEADER_BYTES), str(EVERY), "lz4"]
        told = json.loads(subprocess.run([str(program), *fixed], capture_output=True, text=True, check=True).stdout)
        return Result(name, told["records"], told["seconds"], told["cpu_s"])

    return run


def contestants(
    kafka: Kafka, env: dict[str, str], program: Path | None, count: int, work: Path
) -> Iterator[tuple[str, Callable[[int], Result]]]:
    """Yield every contestant and what runs its next round."""
    plain: dict[str, Contestant] = {
        "copy loop": lambda target: in_process("copy loop", kafka, SOURCE, target, lambda values: values),
        "plain Python": lambda target: in_process("plain Python", kafka, SOURCE, target, plain_encryptor()),
    }
    if program is not None:
        plain["C"] = by_hand(program, kafka, "seal", count, "C")
        plain["C, transactions"] = by_hand(program, kafka, "seal-txn", count, "C, transactions")
    for number, (name, run) in enumerate(plain.items()):
        yield name, partial(_anew, kafka, run, number)
    for variant in VARIANTS:
        if variant.max_records == Variant("", "").max_records:
            yield variant.name, partial(worker, kafka, env, variant, count, work)


def _anew(kafka: Kafka, run: Contestant, number: int, turn: int) -> Result:
    return run(kafka.create_topic(f"plain-{number}-{turn}", partitions=PARTITIONS))


def values_of(kafka: Kafka, topic: str) -> dict[bytes, bytes]:
    """Every record's value without its frame, by its key."""
    consumer = Consumer({**kafka.client, "group.id": "compare", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
    found: dict[bytes, bytes] = {}
    ended = 0
    while ended < PARTITIONS:
        for message in consumer.consume(10_000, 1.0):
            if (error := message.error()) is None:
                found[message.key() or b""] = (message.value() or b"")[5:]
            elif error.code() == KafkaError._PARTITION_EOF:
                ended += 1
    consumer.close()
    return found


def compare(kafka: Kafka, env: dict[str, str], count: int) -> None:
    """Decrypt what the worker wrote in the first round; raises `AssertionError` where a record is not its source's."""
    hosts = tuple({urlsplit(env[name]).netloc for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")})
    declared = json.loads(SCHEMA.read_text())
    source = values_of(kafka, SOURCE)
    assert len(source) == count
    parsed = fastavro.parse_schema(declared)
    with Encryption.from_env(environ=env, allow_hosts=hosts) as encryption:
        for number, variant in enumerate(VARIANTS):
            if not variant.encrypts or variant.max_records != Variant("", "").max_records:
                continue
            output = compile_schema(json.dumps(declared), DeclarationOptions(format=variant.format)).plan.output_schema
            written = values_of(kafka, f"worker-{number}-0")
            assert written.keys() == source.keys(), variant.name
            keys = list(written)
            opened = encryption.decrypt_records([written[k] for k in keys], schema=output, keys=keys)
            for key, record in zip(keys, opened, strict=True):
                assert record == fastavro.schemaless_reader(io.BytesIO(source[key]), parsed, None), variant.name
            print(f"{variant.name}: {len(keys)} records decrypted, each as its source has it")


def report(results: list[Result], base: Result) -> None:
    """Print the figures, and their ratios to the C encryptor's, or to the copy loop's without one."""
    print(f"{'contestant':<34}{'records/s':>12}{'CPU s/million':>15}{f'rate, of {base.name}':>18}{'CPU':>8}")
    for each in results:
        rate, cpu = each.rate / base.rate, each.cpu_per_million / base.cpu_per_million
        print(f"{each.name:<34}{each.rate:>12,.0f}{each.cpu_per_million:>15.2f}{rate:>18.2f}{cpu:>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write every round's figures")
    asked = parser.parse_args()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(running_kafka())
        authority = stack.enter_context(DevAuthority("eu-central-1", work / "authority"))
        kafka.create_topic(SOURCE, partitions=PARTITIONS)
        kafka.create_topic("source.dead", config={"max.message.bytes": str((1 << 20) + 12 + 4096)})
        fill(kafka, SOURCE, asked.records)
        env = dict(authority.env)
        runs = dict(contestants(kafka, env, compiled(work), asked.records, work))
        rounds = [{name: run(turn) for name, run in runs.items()} for turn in range(asked.rounds)]
        compare(kafka, env, asked.records)
    results = [
        Result(name, asked.records, median(r[name].seconds for r in rounds), median(r[name].cpu_s for r in rounds))
        for name in runs
    ]
    report(results, next((r for r in results if r.name == "C"), results[0]))
    if asked.json is not None:
        told = [{n: {"seconds": r.seconds, "cpu_s": r.cpu_s} for n, r in each.items()} for each in rounds]
        asked.json.write_text(json.dumps({"records": asked.records, "rounds": told}, indent=1))


if __name__ == "__main__":
    main()
