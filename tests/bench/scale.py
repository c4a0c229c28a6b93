"""
Many tenants: `make bench-scale`.

Records of 8 fields, 3 of them encrypted under a context of the tenant, are taken apart and sealed in batches of 10,000
as the worker does between its source and its sink: a batch begins while the one before it waits for its keys. The
authority runs in a process of its own. Every figure stands beside that of one tenant in the same run, the cases take
turns, and each case's best turn counts: what else the machine does can only make one slower. The first sight of all
tenants is timed with a new cache beside bare requests for as many keys, as full as the protocol's clients make them,
whose answers are thrown away, just before and just after: the median of several such ratios counts. Requests and keys
are those that the authority counts.

`RECORDS` is how many records each case seals (2,500,000 `leased`, 400,000 `record`), `TENANTS` the numbers of tenants,
`FORMATS` the formats, `SHAPES` how their tenants are drawn, `DISTINCT` how many tenants come once within a small budget
(200,000).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Literal

import numpy as np

from tests.bench.keys import Report, client_for, rss_bytes
from worker import interpreter, native
from worker.avro import DeclarationOptions, compile_schema
from worker.encryption import BatchEncryptor
from worker.model import Audit, Batch, Format, KeySpec, Position, SourceRecord, Value, batch_of
from worker.turn import Turn
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.fresh import FreshKeys
from worker.zerokms.keys import KeyCache, KeyOptions
from worker.zerokms.options import FULL
from worker.zerokms.wire import keys_body

AUDIT = Audit("bench")
BATCH = 10_000
RECORDS: dict[str, int] = {
    kind: int(os.environ.get("RECORDS", most)) for kind, most in (("leased", 2_500_000), ("record", 400_000))
}
TENANTS = [int(n) for n in os.environ.get("TENANTS", "1,1000,12000,50000").split(",")]
FORMATS = os.environ.get("FORMATS", "leased,record").split(",")
SHAPES = os.environ.get("SHAPES", "uniform,zipf").split(",")
DISTINCT = int(os.environ.get("DISTINCT", "200000"))
TURNS = 3
COLD = 7
USUAL = 50_000
"""So many tenants of three fields the default budget has room for."""
NAMES = ("name", "email", "phone")
FIELDS = len(NAMES)
LEAST = {"leased": {1_000: 0.9, 12_000: 0.8, 50_000: 0.6, 1_000_000: 0.3}, "record": dict.fromkeys(TENANTS, 0.8)}
Shape = Literal["uniform", "zipf"]


def text(value: str) -> bytes:
    """A short string in Avro."""
    data = value.encode()
    return bytes((2 * len(data),)) + data


def schema(kind: Format, names: Sequence[str] = NAMES) -> str:
    """Customers of many tenants."""
    declared = {"type": "string", "encrypted": {"format": kind, "context": ["tenant"]}}
    fields: list[dict[str, object]] = [
        {"name": "tenant", "type": "string"},
        {"name": "country", "type": "string"},
        {"name": "active", "type": "boolean"},
        {"name": "score", "type": "double"},
        {"name": "since", "type": "int"},
    ]
    fields += [{"name": name, **(declared if name in names else {"type": "string"})} for name in NAMES]
    return json.dumps({"type": "record", "name": "Customer", "namespace": "bench", "fields": fields})


def batches(tenants: Sequence[int]) -> Iterator[Batch]:
    """Batches of one record a tenant given, in their order."""
    rest = (
        text("DE") + b"\x01" + bytes(8) + b"\x02" + text("Ann Example") + text("ann@mail.test") + text("+49 30 1234567")
    )
    for start in range(0, len(tenants), BATCH):
        each = tenants[start : start + BATCH]
        yield batch_of(
            SourceRecord(Position("t", 0, i), None, b"\x00\x00\x00\x00\x01" + text(f"tenant-{tenant:07}") + rest)
            for i, tenant in enumerate(each)
        )


def drawn(count: int, records: int, shape: Shape, seed: int) -> list[int]:
    """Tenants of so many records, in random order."""
    chance = np.random.default_rng(seed)
    if shape == "uniform":
        return list(map(int, chance.integers(0, count, records)))
    weights = 1 / np.arange(1, count + 1)
    return list(map(int, chance.choice(count, records, p=weights / weights.sum())))


class Authority:
    """The authority's process, and what it counts."""

    def __init__(self, running: subprocess.Popen[str], out: IO[str], into: IO[str], env: dict[str, str]) -> None:
        self._running, self._out, self._into, self.env = running, out, into, env

    def counted(self) -> tuple[int, int]:
        """Requests and keys so far."""
        self._into.write("\n")
        self._into.flush()
        said = json.loads(self._out.readline())
        return int(said["requests"]), int(said["keys"])


@contextmanager
def authority() -> Iterator[Authority]:
    """Run the authority in a process of its own."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "tests.bench.far", directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdin is not None
            assert running.stdout is not None
            said = json.loads(running.stdout.readline())
            yield Authority(running, running.stdout, running.stdin, said["env"])
            running.stdin.close()


class Bare:
    """Requests of so many keys, a context for each, several at once; the answers are thrown away."""

    def __init__(self, service: ZeroKMSClient, keys: int = FULL) -> None:
        self.keys = keys
        specs = [KeySpec(None, "bench.Customer/name", (Value("tenant", f"tenant-{n:07}"),)) for n in range(self.keys)]
        items = FreshKeys(specs, os.urandom(16 * self.keys)).items()
        self._body = keys_body(service.credentials.client_id, None, items, {})
        self._wire = service._wire
        self._threads = ThreadPoolExecutor(KeyOptions().requests_in_flight)
        self.requests = 0

    def seconds_a_key(self, requests: int) -> float:
        """Make so many requests; returns how long one of their keys took."""
        self.requests += requests
        began = time.perf_counter()
        for _ in self._threads.map(lambda _: self._wire.post("generate-data-key", self._body), range(requests)):
            pass
        return (time.perf_counter() - began) / (self.keys * requests)


class Case:
    """One format and number of tenants, with a cache of its own."""

    def __init__(self, service: ZeroKMSClient, kind: Format, count: int, shape: Shape) -> None:
        self.kind, self.count, self.shape = kind, count, shape
        # What a million tenants take is beyond the default.
        budget = KeyOptions().budget_bytes if count <= USUAL else FIELDS * count * 1_000
        self.cache = KeyCache(service, options=KeyOptions(budget_bytes=budget), audit=AUDIT)
        self._encryptor = BatchEncryptor(self.cache)
        self._turn = Turn()
        self._compiled = compile_schema(schema(kind), DeclarationOptions())
        self.records = self.turns = 0
        self.best = self.best_of_cpu = 0.0
        self.missing: list[int] = []

    def seal(self, batch: Batch) -> float:
        """Take a batch apart and seal it; returns the seconds it took."""
        began, used = time.perf_counter(), time.thread_time()
        split = self._compiled.split_batch(batch, [None] * len(batch), 5)
        [sealed] = self._encryptor.seal([(split, b"\x00\x00\x00\x00\x02")])
        took = time.perf_counter() - began
        self.best_of_cpu = max(self.best_of_cpu, len(batch) / (time.thread_time() - used))
        self.records += len(batch)
        assert len(sealed.data) == len(batch)
        assert not sealed.errors
        return took

    def warm(self) -> tuple[int, float]:
        """Meet every tenant once; returns how many batches that were, and the seconds they took."""
        made = list(batches(range(self.count)))
        return len(made), self.seal_all(made)

    def turn(self, records: int) -> None:
        """Seal some records, and keep the best rate."""
        self.turns += 1
        tenants = drawn(self.count, records, self.shape, self.turns)
        if self.kind == "record":
            # Pools fill up while other cases have their turn, and while batches are made: what they have by then is no
            # rate.
            made = list(batches(tenants))
            self.seal_all(list(batches(tenants[: KeyOptions().max_pool_keys])))
            self.best = max(self.best, records / self.seal_all(made))
        else:
            took = [self.seal(batch) for batch in batches(tenants)]
            self.best = max(self.best, records / sum(took), BATCH / min(took))

    def seal_all(self, made: Sequence[Batch]) -> float:
        """Seal batches, the next one from when one waits for its keys; returns the seconds that all took."""

        def seal(batch: Batch) -> None:
            with self._turn.taken():
                self.seal(batch)

        began = time.perf_counter()
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(seal, made))
        return time.perf_counter() - began


@dataclass(slots=True)
class Counts:
    """Requests and keys between two looks at the authority."""

    far: Authority
    at: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self.at = self.far.counted()

    def since(self) -> tuple[int, int]:
        """Requests and keys since the last look."""
        before, self.at = self.at, self.far.counted()
        return self.at[0] - before[0], self.at[1] - before[1]


def cold(report: Report, counts: Counts, bare: Bare, make: Callable[[], Case]) -> Case:
    """The first sight of every tenant, several times; returns the last case, which has seen them."""
    case = make()
    if case.count < BATCH:
        case.warm()
        counts.since()
        return case
    wanted = FIELDS * case.count
    requests = -(-wanted // bare.keys)
    shares, asked, made = [], bare.requests, 0
    before = bare.seconds_a_key(requests)
    for _ in range(COLD if case.count <= USUAL else 1):
        case.cache.close()
        case = make()
        number, took = case.warm()
        after = bare.seconds_a_key(requests)
        shares.append((before + after) / 2 * wanted / took)
        before, made = after, made + number
    asked = bare.requests - asked
    sent, keys = counts.since()
    name = f"leased, {case.count:,} tenants, cold"
    report.check(f"{name}: keys/s / bare requests'", statistics.median(shares), 0.8, at_least=True)
    bound = (keys - bare.keys * asked) / 500 + made
    report.check(f"{name}: requests", sent - asked, bound, at_least=False, form="{:,.0f}")
    return case


def warm_and_cold(
    report: Report, far: Authority, service: ZeroKMSClient, kind: Format, shape: Shape, bare: Bare
) -> None:
    """Each number of tenants beside one tenant, every tenant seen."""
    counts = Counts(far)
    made = [partial(Case, service, kind, count, shape) for count in TENANTS]
    cases = [cold(report, counts, bare, make) if kind == "leased" else make() for make in made]
    for _ in range(TURNS):
        for case in cases:
            case.turn(max(1, RECORDS[kind] // TURNS // BATCH) * BATCH)
    requests, keys = counts.since()
    one = cases[0]
    for case in cases:
        name = f"{kind}, {shape}, {case.count:,} tenants"
        report.show(f"{name}, records/s", f"{case.best:,.0f}")
        if case is not one:
            report.check(f"{name} / one", case.best / one.best, LEAST[kind].get(case.count, 0.0), at_least=True)
            if kind == "leased":
                report.show(f"{name} / one, a second of CPU", f"{case.best_of_cpu / one.best_of_cpu:.3f}")
    if kind == "record":
        used = sum(case.records for case in cases) * FIELDS
        sealed_batches = sum(-(-case.records // BATCH) + 2 * case.turns for case in cases)
        report.check(
            f"{kind}, {shape}: requests", requests, keys / 500 + sealed_batches, at_least=False, form="{:,.0f}"
        )
        report.check(f"{kind}, {shape}: wasted / used", (keys - used) / used, 0.1, at_least=False)
    else:
        report.show(f"{kind}, {shape}: requests and keys while warm", f"{requests} and {keys}")
    for case in cases:
        case.cache.close()


def bounded(report: Report, service: ZeroKMSClient) -> None:
    """Contexts that never return, within a small budget."""
    options = KeyOptions(budget_bytes=8 * 2**20)
    with KeyCache(service, options=options, audit=AUDIT) as cache:
        encryptor, compiled = BatchEncryptor(cache), compile_schema(schema("leased", NAMES[:1]), DeclarationOptions())
        most, resident, began = 0, [], time.perf_counter()
        for start in range(0, DISTINCT, BATCH):
            [batch] = batches(range(start, start + BATCH))
            encryptor.seal([(compiled.split_batch(batch, [None] * BATCH, 5), b"")])
            most = max(most, cache._stock.bytes)
            resident.append(rss_bytes())
        took = time.perf_counter() - began
    name = f"{DISTINCT:,} tenants once"
    report.show(f"{name}, keys/s", f"{DISTINCT / took:,.0f}")
    report.check(f"{name}: bytes held / budget", most / options.budget_bytes, 1.0, at_least=False)
    grown = (resident[-1] - resident[len(resident) // 4]) / 2**20
    report.check(f"{name}: MiB of memory gained over the last three quarters", grown, 32, at_least=False)


def main() -> int:
    """Run everything, print the table, and return 1 where a promise is broken."""
    interpreter.set_up()
    report = Report()
    report.show("extension module", "yes" if native.IS_LOADED else "no")
    kinds: list[Format] = ["leased", "record"]
    with authority() as far, client_for(far.env) as service:
        bare = Bare(service)
        bare.seconds_a_key(30)
        # The worker's own are as full as the authority's token says.
        for each in (bare, Bare(service, service.keys_per_request)):
            report.show(f"bare requests of {each.keys:,} keys, keys/s", f"{1 / each.seconds_a_key(300):,.0f}")
        for kind in [kind for kind in kinds if kind in FORMATS]:
            shapes: list[Shape] = [shape for shape in ("uniform", "zipf") if shape in SHAPES]
            for shape in shapes if kind == "leased" else shapes[:1]:
                warm_and_cold(report, far, service, kind, shape, bare)
        if "leased" in FORMATS:
            bounded(report, service)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
