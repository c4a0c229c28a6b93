"""From a batch to its output: the only module that knows the order of the stages."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from worker.avro import SchemaSource
from worker.errors import DeclarationError, RecordError
from worker.metrics import Metrics
from worker.model import Batch, Encryptor, Fate, Fates, Part, Sealed, Split
from worker.model.rows import RowSource
from worker.native.batch import NativeBatch, NativeOutput
from worker.native.split import SpanSplit
from worker.pipeline.amplified import Amplification, Oversized
from worker.pipeline.groups import Group, grouped
from worker.pipeline.job import Processed
from worker.pipeline.keys import Keys, RecordKeys
from worker.pipeline.ledger import ledger_rows
from worker.pipeline.residency import Residency
from worker.pipeline.schemas import InputSchema, InputSchemas, SchemaRules
from worker.pipeline.search import SearchTerms, Terms
from worker.pipeline.verify import OutputVerifier
from worker.sink.base import LedgerRow


@dataclass(frozen=True, slots=True)
class _Taken:
    """A group taken apart: what is sealed of it, which of its records are refused, and which go to another topic."""

    group: Group
    schema: InputSchema
    split: Split
    refused: dict[int, RecordError]
    topics: dict[int, str]


@dataclass(slots=True)
class _Work:
    """A batch on its way through the stages."""

    batch: Batch
    keys: Keys
    fates: Fates
    parts: list[Part]
    ledger: list[LedgerRow]


@dataclass(frozen=True, slots=True)
class Steps:
    """
    What is done to a route's records beside encrypting what they declare.

    Args:
        keys: what becomes of record keys; None: they pass as they are.
        residency: which records may be written here; None: all.
        verifier: decrypts a sample before it is written; None: none.
        terms: makes the search terms of indexed fields; None: the sink stores none.
        amplification: bounds what one record may become; None: nothing does.
        seals_erased: records of erased subjects become dead letters; else they are dropped.
    """

    keys: RecordKeys | None = None
    residency: Residency | None = None
    verifier: OutputVerifier | None = None
    terms: SearchTerms | None = None
    amplification: Amplification | None = None
    seals_erased: bool = False


class BatchProcessor:
    """
    Read the frames, compile the schema (once per id), split, judge residency, seal, put together.

    Every record meets exactly one fate; nothing declared leaves in the clear.

    Args:
        schemas: input schemas by reference, and output ids.
        rules: how they are read.
        encryptor: seals what is declared.
        steps: what else is done to records.
        route: the route's name.
        metrics: written to once a batch.
    """

    def __init__(
        self,
        schemas: SchemaSource,
        rules: SchemaRules,
        encryptor: Encryptor,
        steps: Steps | None = None,
        *,
        route: str,
        metrics: Metrics,
    ) -> None:
        self._steps = steps = steps if steps is not None else Steps()
        self._encryptor = encryptor
        self._route = route
        self._metrics = metrics
        extract = steps.residency.fields if steps.residency is not None else ()
        self._schemas = InputSchemas(schemas, rules, keys=steps.keys, extract=extract)

    def process(self, batch: Batch) -> Processed:
        """
        Process a batch, whole.

        Raises:
            TransientError: the authority or the registry is away; call again with the same records.
            ConfigError: a schema can't be kept to (`DeclarationError`), or the registry refuses the credentials.
            FatalError: the authority refuses this identity, or its keys don't hold.
            Oversized: it would become too much at once; take its halves.
        """
        steps, fates = self._steps, Fates(len(batch))
        keys = steps.keys.process(batch) if steps.keys is not None else Keys()
        for i, error in keys.errors.items():
            fates.fail(i, error, "decode")
        work = _Work(batch, keys, fates, [], [])
        groups, tombstones = grouped(batch, fates)
        if tombstones:
            fates.settle(tombstones, Fate.TOMBSTONE)
            work.parts.append(Part(tombstones, [None] * len(tombstones)))
        self._schemas.meet(group.ref for group in groups)
        taken = [each for group in groups if (each := self._take_apart(group, work)) is not None]
        if steps.amplification is not None:
            steps.amplification.check(batch, ((each.split, each.schema.compiled.plan.fields) for each in taken))
        started = time.monotonic()
        sealed = self._encryptor.seal([(each.split, each.schema.prefix) for each in taken])
        for each, done in zip(taken, sealed, strict=True):
            if steps.verifier is not None:
                steps.verifier.verify(each.split.columns, done.envelopes)
            self._put(each, done, work)
        self._timed("encrypt", started)
        fates.close()
        output = batch.output(work.parts, fates.written, keys=keys.data, key_rows=keys.rows)
        left = sum(len(each.split.refused) for each in taken if isinstance(each.split, SpanSplit))
        whole = len(output) if isinstance(batch, NativeBatch) and not isinstance(output, NativeOutput) else 0
        for stage, count in (("decode", left), ("output", whole)):
            if count:
                self._metrics.inc("worker_twin_records_total", count, route=self._route, stage=stage)
        return Processed(batch, output, fates, work.ledger)

    def _take_apart(self, group: Group, work: _Work) -> _Taken | None:
        """Split a group and judge its records; None where its schema is their error."""
        try:
            schema = self._schemas.get(group.ref)
        except RecordError as exc:
            for i in group.indexes:
                work.fates.fail(i, exc, "decode")
            return None
        except DeclarationError as exc:
            first = group.batch.record(0).position
            raise DeclarationError(f"{first}: schema {group.ref}: {exc}", path=exc.path) from exc
        self._metrics.set("worker_schema_info", 1, route=self._route, schema=str(group.ref))
        started = time.monotonic()
        split, refused, topics = self._split(group, schema, work.keys)
        split.drop(refused.keys())
        self._timed("decode", started)
        return _Taken(group, schema, split, refused, topics)

    def _put(self, taken: _Taken, sealed: Sealed, work: _Work) -> None:
        """Give a group's records their fates, and the output its part."""
        group, schema = taken.group, taken.schema
        for i, error in sealed.errors.items():
            self._fail(work.fates, group.indexes[i], error, "encrypt")
        topics = {i: topic for i, topic in taken.topics.items() if i not in sealed.errors}
        clear: Sequence[int] = ()
        if schema.passed is not None and not schema.passed.are_opened:
            clear = range(len(group.batch))
        elif work.keys.data is None:
            clear = schema.compiled.undeclared.places(group.batch.values, group.start)
        self._settle(group, taken.refused, topics, work.fates, clear)
        rows = RowSource(schema.compiled, len(schema.prefix), self._search(taken.split, sealed, schema))
        work.parts.append(Part(group.indexes, sealed.data, str(schema.output_id), topics, rows))
        work.ledger += ledger_rows(group.batch, taken.split, sealed.usage, str(schema.output_id))
        self._measure(group.batch.runs[0].topic, sealed)

    def _split(
        self, group: Group, schema: InputSchema, keys: Keys
    ) -> tuple[Split, dict[int, RecordError], dict[int, str]]:
        """Take a group apart; returns besides which of its records are refused, and which go to another topic."""
        bound = keys.of(group.batch, group.indexes)
        bounds = self._steps.amplification
        most, every = (None, None) if bounds is None else (bounds.max_values, bounds.batch_values)
        try:
            split = schema.compiled.split_batch(group.batch, bound, group.start, most, every)
            refused = dict(split.errors)
            if bounds is not None:
                refused |= bounds.errors(group.batch, split, schema.compiled.plan.fields)
            if schema.passed is not None:
                for i, error in schema.passed.errors(group.batch, group.start, most, every).items():
                    refused.setdefault(i, error)
        except OverflowError:
            raise Oversized from None
        return split, refused, self._judge(group.batch, split, refused)

    def _judge(self, batch: Batch, split: Split, refused: dict[int, RecordError]) -> dict[int, str]:
        residency = self._steps.residency
        if residency is None:
            return {}
        topics, counts = residency.judge_batch(batch, split, refused)
        for (topic, outcome), count in counts.items():
            labels = {"route": self._route, "topic": topic, "outcome": outcome}
            self._metrics.inc("worker_residency_records_total", count, **labels)
        return topics

    def _search(self, split: Split, sealed: Sealed, schema: InputSchema) -> Terms:
        terms = self._steps.terms
        if terms is None or not terms.wants(schema.compiled.plan.fields):
            return {}
        return terms.of(split.columns, sealed.envelopes)

    def _fail(self, fates: Fates, index: int, error: RecordError, stage: str) -> None:
        if error.code == "subject_erased" and not self._steps.seals_erased:
            fates.settle([index], Fate.ERASED)
        else:
            fates.fail(index, error, stage)

    def _settle(
        self,
        group: Group,
        refused: Mapping[int, RecordError],
        topics: Mapping[int, str],
        fates: Fates,
        clear: Sequence[int],
    ) -> None:
        for i, error in refused.items():
            self._fail(fates, group.indexes[i], error, "decode")
        if topics:
            fates.settle([group.indexes[i] for i in sorted(topics)], Fate.FORWARDED)
        if clear:
            every = len(clear) == len(group.indexes)
            fates.settle(fates.open(group.indexes if every else [group.indexes[i] for i in clear]), Fate.PASSED)
        fates.settle(fates.open(group.indexes), Fate.ENCRYPTED)

    def _timed(self, stage: str, started: float) -> None:
        self._metrics.stage(stage, time.monotonic() - started, route=self._route)

    def _measure(self, topic: str, sealed: Sealed) -> None:
        labels = {"route": self._route, "topic": topic}
        for used in sealed.fields:
            self._metrics.inc("worker_values_total", used.values, format=used.plan.format, **labels)
            self._metrics.inc("worker_plaintext_bytes_total", used.plaintext_bytes, **labels)
            self._metrics.inc("worker_ciphertext_bytes_total", used.ciphertext_bytes, **labels)
