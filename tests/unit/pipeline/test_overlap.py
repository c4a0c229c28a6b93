"""Batches that overlap, under random schedules: what comes out is what a loop of one batch at a time would write."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.contract.batches import FORMS, Build
from tests.fakes.keyservice import FakeKeyService
from tests.fakes.pipeline import MemorySource
from tests.fakes.records import records_of
from tests.unit.pipeline.test_runner import P0, P1, Bench
from worker.avro import DeclarationOptions, LocalSchema, LocalSchemas, compile_schema, open_schema
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.encryption.anyform import parse
from worker.errors import KeyAccessDenied, KeyServiceUnavailable, PositionsChanged, SinkUnavailable
from worker.metrics import Metrics
from worker.model import (
    Audit,
    Batch,
    DataKey,
    KeyRefused,
    KeySpec,
    Position,
    RetrieveRequest,
    SourceRecord,
    TopicPartition,
    Value,
    batch_of,
)
from worker.pipeline.batch import BatchProcessor
from worker.pipeline.job import Processed
from worker.pipeline.schemas import SchemaRules, subject_of
from worker.zerokms.keys import KeyCache, KeyOptions

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "C",
        "fields": [
            {"name": "tenant", "type": "string"},
            {"name": "email", "type": "string", "encrypted": {"format": "record", "context": ["tenant"]}},
            {"name": "note", "type": "string", "encrypted": {"format": "leased", "context": ["tenant"]}},
        ],
    }
)
AUDIT = Audit("test")
FAULTS = {
    "away": ("flush", SinkUnavailable("away")),
    "unknown": ("commit", PositionsChanged("not done")),
    "unknown but done": ("committed", PositionsChanged("done")),
}
"""Which step of the sink fails, and how."""
# What a request that lets others overtake it waits at most: then there is no other.
_OVERTAKEN_S = 0.02


@dataclass(frozen=True)
class Schedule:
    """
    What happens to a route.

    Args:
        tenants: of each partition's records, in order.
        refused: tenants who get no keys.
        requests: what the first requests for keys meet: `at once`, `overtaken` by the next batch, or `away`.
        commits: what the first attempts meet: see `FAULTS`.
        taken_at: the poll at which the second partition is taken for a while; None: never.
        max_age_s: how long keys are kept; 0: for no other batch.
    """

    tenants: tuple[str, str]
    refused: frozenset[str] = frozenset()
    requests: tuple[str, ...] = ()
    commits: tuple[str, ...] = ()
    taken_at: int | None = None
    max_age_s: int = 300

    def tenant(self, place: TopicPartition, offset: int) -> str:
        return self.tenants[place.partition][offset]


texts = st.text("abcdef", max_size=30)
SCHEDULES = st.builds(
    Schedule,
    st.tuples(texts, texts).filter(any),
    st.frozensets(st.sampled_from("abcdef"), max_size=2),
    st.lists(st.sampled_from(["at once", "overtaken", "away"]), max_size=8).map(tuple),
    st.lists(st.sampled_from([*FAULTS]), max_size=4).map(tuple),
    st.none() | st.integers(1, 15),
    st.sampled_from([0, 300]),
)


class Authority(FakeKeyService):
    """Answers as the schedule says, and remembers what it gave."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule
        self._meets = iter(schedule.requests)
        self.begun = 0
        self.moved = threading.Condition()
        self.given: list[DataKey] = []

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        with self.moved:
            met = next(self._meets, "overtaken")
            begun = self.begun
            if met == "overtaken":
                self.moved.wait_for(lambda: self.begun > begun, _OVERTAKEN_S)
        if met == "away":
            raise KeyServiceUnavailable("away")
        if any(isinstance(e, Value) and e.value in self._schedule.refused for r in requests for e in r.context):
            raise KeyAccessDenied("this context is refused")
        keys = super().generate(requests, audit)
        with self.moved:
            self.given += keys
        return keys

    def keys(self, requests: Sequence[RetrieveRequest]) -> list[DataKey | KeyRefused]:
        """Keys for decryption."""
        return self.retrieve(requests, AUDIT)


@dataclass
class Overlapping:
    """A processor that says when a batch begins, and keeps all that was sealed."""

    processor: BatchProcessor
    authority: Authority
    sealed: list[list[bytes]] = field(default_factory=list)

    def process(self, batch: Batch) -> Processed:
        with self.authority.moved:
            self.authority.begun += 1
            self.authority.moved.notify_all()
        result = self.processor.process(batch)
        self.sealed.append([record.value or b"" for record in records_of(result.output)])
        return result


class Source(MemorySource):
    """Gives batches in a form, and takes a partition away for two polls."""

    def __init__(self, schedule: Schedule, build: Build) -> None:
        super().__init__({place: records(schedule, place) for place in (P0, P1)})
        self._build = build
        self._taken_at = schedule.taken_at
        self.give(P0, P1)

    def poll(self, max_records: int, timeout_s: float) -> Batch | None:
        if self._taken_at is not None and self.polls == self._taken_at:
            self.take(P1)
        if self._taken_at is not None and self.polls == self._taken_at + 2:
            self.give(P1)
        batch = super().poll(max_records, timeout_s)
        return None if batch is None else self._build([batch.record(i) for i in range(len(batch))])


def records(schedule: Schedule, place: TopicPartition) -> list[SourceRecord]:
    count = len(schedule.tenants[place.partition])
    values = [b"\0\0\0\0\1" + datum(schedule, place, offset) for offset in range(count)]
    return [SourceRecord(Position(*place, o), b"k", value, (), 1, 1000) for o, value in enumerate(values)]


def datum(schedule: Schedule, place: TopicPartition, offset: int) -> bytes:
    texts = (schedule.tenant(place, offset), f"e{place.partition}-{offset}", f"n{place.partition}-{offset}")
    return b"".join(bytes([len(text) * 2]) + text.encode() for text in texts)


def run(schedule: Schedule, build: Build) -> tuple[Bench, Overlapping, KeyCache]:
    """Run a route to its end, its last batch committed."""
    bench, authority = Bench(owns_positions=True, max_records=5), Authority(schedule)
    bench.source = Source(schedule, build)
    for met in schedule.commits:
        at, fault = FAULTS[met]
        bench.sink.faults.setdefault(at, []).append(fault)
    bounds = {"max_age_s": schedule.max_age_s, "keys_per_request": 4, "backoff_s": 0.001, "max_values": 7, "wait_s": 20}
    cache = KeyCache(authority, options=KeyOptions.model_validate(bounds), audit=AUDIT)
    processor = Overlapping(
        BatchProcessor(
            LocalSchemas({1: LocalSchema(input=SCHEMA, output_id=1001)}),
            SchemaRules(DeclarationOptions(), subject_of("topic", "out")),
            BatchEncryptor(cache),
            route="r",
            metrics=Metrics("eu-central-1"),
        ),
        authority,
    )
    bench.processor = processor  # type: ignore[assignment]
    bench.start()
    ends = {place: len(log) for place, log in bench.source.logs.items() if log}
    try:
        bench.until(lambda: bench.error is not None or all(bench.sink.stored.get(p) == n for p, n in ends.items()))
    finally:
        bench.stop()
    assert bench.error is None
    assert bench.runner is not None
    # A batch that was given back may be under way yet: what it holds it lets go when it is through.
    bench.runner._ahead._threads.shutdown()
    return bench, processor, cache


def opened(authority: Authority, values: Sequence[bytes]) -> list[bytes | None]:
    """Data as they were read, from what was written; the context is each record's own tenant."""
    schema = open_schema(compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema)
    split = schema.split([value[5:] for value in values], [b"k"] * len(values))
    found = BatchDecryptor(authority).decrypt(split.columns)
    return split.join([[value or b"" for value in column] for column in found.values])


def envelopes(values: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """Format and key of each envelope."""
    schema = open_schema(compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema)
    split = schema.split([value[5:] for value in values], [b"k"] * len(values))
    return [(column.plan.format, parse(value).iv) for column in split.columns for value in column.values]


@pytest.mark.parametrize("build", [FORMS["columns"], FORMS.get("native", batch_of)], ids=["plain", "native"])
@settings(max_examples=8)
@example(Schedule(("abcdefabcdefabcdef", "fedcba"), max_age_s=0))
@example(Schedule(("abababababababab", ""), frozenset("b"), ("at once", "overtaken", "away")))
@example(Schedule(("abcabcabcabcabc", "abcabcabc"), commits=("unknown but done", "away"), taken_at=3))
@given(schedule=SCHEDULES)
def test_overlapping_batches_write_what_single_ones_would(build: Build, schedule: Schedule) -> None:
    """
    Each record once and in order, or among the refused; sealed under keys of its own context, single ones used once.
    """
    bench, processor, cache = run(schedule, build)
    authority = processor.authority

    for place in (P0, P1):
        every = range(len(schedule.tenants[place.partition]))
        good = [o for o in every if schedule.tenant(place, o) not in schedule.refused]
        written = [r for r in bench.sink.committed if r.position.partition == place.partition]
        assert [r.position.offset for r in written] == good
        assert opened(authority, [r.value or b"" for r in written]) == [datum(schedule, place, o) for o in good]
    bad = sum(tenant in schedule.refused for text in schedule.tenants for tenant in text)
    assert {letter.value for letter in bench.sink.dead} == ({b"key_refused"} if bad else set())
    single = [iv for values in processor.sealed for kind, iv in envelopes(values) if kind == "record"]
    assert len(single) == len(set(single))
    assert not cache._stock.retired.is_needed
    cache.close()
    assert all(key.is_wiped for key in authority.given)
