"""From a batch to its output: the only module that knows the order of the stages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from worker.avro import (
    CompiledSchema,
    DeclarationOptions,
    RegisteredSchema,
    SchemaRef,
    SchemaSource,
    compile_schema,
    frame,
    parse_frame,
)
from worker.avro.frame import VALUE_HEADER
from worker.encryption import BatchDecryptor
from worker.errors import DeclarationError, DecodeError, RecordError, ResidencyError
from worker.metrics import Metrics
from worker.model import Batch, Encryptor, Fate, Fates, Indexes, Part, Sealed, Split
from worker.pipeline.amplified import Amplification, BatchBounds, measured
from worker.pipeline.job import Oversized, Processed
from worker.pipeline.keys import Keys, RecordKeys
from worker.pipeline.ledger import ledger_rows
from worker.pipeline.passed import PassedEnvelopes, passed_envelopes
from worker.pipeline.residency import Forward, Residency
from worker.pipeline.search import SearchTerms, Terms
from worker.pipeline.verify import OutputVerifier
from worker.sink.base import LedgerRow


@dataclass(frozen=True, slots=True)
class _Schema:
    """One compiled input schema and what its output is framed with."""

    registered: RegisteredSchema
    compiled: CompiledSchema
    output_id: int
    prefix: bytes
    passed: PassedEnvelopes | None


@dataclass(frozen=True, slots=True)
class _Group:
    """The records of one schema within a batch, and where their datums begin behind the frame."""

    ref: SchemaRef
    start: int
    indexes: Indexes
    batch: Batch


@dataclass(frozen=True, slots=True)
class _Taken:
    """A group taken apart: what is sealed of it, which of its records are refused, and which go to another topic."""

    group: _Group
    schema: _Schema
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
    values: int = 0
    bytes: int = 0


class BatchProcessor:
    """
    Read the frames, compile the schema (once per id), split, judge residency, seal, put together.

    Every record meets exactly one fate; nothing declared leaves in the clear.

    Args:
        route: the route's name.
        schemas: input schemas by reference, and output ids.
        declaration: defaults and policies.
        encryptor: seals what is declared.
        metrics: written to once a batch.
        subject: full name of a record -> subject under which its output schema is registered.
        keys: what becomes of record keys; None: they pass as they are.
        residency: which records may be written here; None: all.
        verifier: decrypts a sample before it is written; None: none.
        accepted: keysets whose envelopes may pass as they are, where the declaration says `pass`.
        terms: makes the search terms of indexed fields; None: the sink stores none.
        amplification: bounds what one record may become; None: nothing does.
        bounds: what a batch may become, which goes in pieces otherwise; None: nothing bounds it.
        opener: opens what passes; None lets it pass unopened, and then it is not counted as encrypted.
    """

    def __init__(
        self,
        *,
        route: str,
        schemas: SchemaSource,
        declaration: DeclarationOptions,
        encryptor: Encryptor,
        metrics: Metrics,
        subject: Callable[[str], str],
        keys: RecordKeys | None = None,
        residency: Residency | None = None,
        verifier: OutputVerifier | None = None,
        accepted: Callable[[], frozenset[UUID]] = frozenset,
        terms: SearchTerms | None = None,
        opener: BatchDecryptor | None = None,
        amplification: Amplification | None = None,
        bounds: BatchBounds | None = None,
    ) -> None:
        self._route = route
        self._schemas = schemas
        self._declaration = declaration
        self._encryptor = encryptor
        self._metrics = metrics
        self._subject = subject
        self._keys = keys
        self._residency = residency
        self._verifier = verifier
        self._terms, self._opener, self._amplification, self._bounds = terms, opener, amplification, bounds
        self._accepted, self._passes = accepted, declaration.already_encrypted == "pass"
        self._compiled: dict[str, _Schema] = {}

    def process(self, batch: Batch) -> Processed:
        """
        Process a batch, whole.

        Raises:
            TransientError: the authority or the registry is away; call again with the same records.
            Oversized: it has to go in pieces; no key has been taken for it.
            ConfigError: a schema can't be kept to (`DeclarationError`), or the registry refuses the credentials.
            FatalError: the authority refuses this identity, or its keys don't hold.
        """
        fates = Fates(len(batch))
        keys = self._keys.process(batch) if self._keys is not None else Keys()
        for i, error in keys.errors.items():
            fates.fail(i, error, "decode")
        work = _Work(batch, keys, fates, [], [])
        groups = list(self._groups(work))
        self._meet(groups)
        taken = [each for group in groups if (each := self._take_apart(group, work)) is not None]
        started = time.monotonic()
        sealed = self._encryptor.seal([(each.split, each.schema.prefix) for each in taken])
        for each, done in zip(taken, sealed, strict=True):
            if self._verifier is not None:
                self._verifier.verify(each.split.columns, done.envelopes)
            self._put(each, done, work)
        self._timed("encrypt", started)
        fates.close()
        output = batch.output(work.parts, fates.written, keys=keys.data, key_rows=keys.rows)
        return Processed(batch, output, fates, work.ledger)

    def _groups(self, work: _Work) -> Iterator[_Group]:
        """Part a batch by the schemas that its values name; what names none gets its fate here."""
        batch, fates = work.batch, work.fates
        frames = batch.frames("value", VALUE_HEADER)
        found: dict[tuple[str, int], tuple[SchemaRef, list[Indexes]]] = {}
        for head, indexes in frames.groups.items():
            ref, start = parse_frame(head, ())
            found.setdefault((str(ref), start), (ref, []))[1].append(fates.open(indexes))
        for i in fates.open([*frames.named, *frames.bare]):
            record = batch.record(i)
            try:
                if not record.value:
                    raise DecodeError("the value is empty; a tombstone has none at all")
                ref, start = parse_frame(record.value, record.headers)
            except RecordError as exc:
                fates.fail(i, exc, "decode")
                continue
            found.setdefault((str(ref), start), (ref, []))[1].append([i])
        stones = fates.open(frames.absent)
        if stones:
            fates.settle(stones, Fate.TOMBSTONE)
            work.parts.append(Part(stones, [None] * len(stones)))
        for (_, start), (ref, several) in found.items():
            indexes = several[0] if len(several) == 1 else sorted(i for each in several for i in each)
            if indexes:
                yield _Group(ref, start, indexes, batch if len(indexes) == len(batch) else batch.select(indexes))

    def _meet(self, groups: Sequence[_Group]) -> None:
        """Learn of every schema before the first record goes out: a newer version may say what an older one leaves."""
        for group in groups:
            if str(group.ref) not in self._compiled:
                with contextlib.suppress(RecordError):
                    self._schemas.get(group.ref)

    def _take_apart(self, group: _Group, work: _Work) -> _Taken | None:
        """Split a group and judge its records; None where its schema is their error."""
        try:
            schema = self._schema(group.ref)
        except RecordError as exc:
            for i in group.indexes:
                work.fates.fail(i, exc, "decode")
            return None
        except DeclarationError as exc:
            first = group.batch.record(0).position
            raise DeclarationError(f"{first}: schema {group.ref}: {exc}", path=exc.path) from exc
        started = time.monotonic()
        split, refused, topics = self._split(group, schema, work)
        split.drop(refused.keys())
        self._timed("decode", started)
        return _Taken(group, schema, split, refused, topics)

    def _put(self, taken: _Taken, sealed: Sealed, work: _Work) -> None:
        """Give a group's records their fates, and the output its part."""
        group, schema = taken.group, taken.schema
        for i, error in sealed.errors.items():
            work.fates.fail(group.indexes[i], error, "encrypt")
        topics = {i: topic for i, topic in taken.topics.items() if i not in sealed.errors}
        declares = bool(schema.compiled.plan.fields) or work.keys.data is not None
        if schema.passed is not None:
            declares = schema.passed.are_opened
        self._settle(group, taken.refused, topics, work.fates, Fate.ENCRYPTED if declares else Fate.PASSED)
        rows = partial(schema.compiled.rows, start=len(schema.prefix), terms=self._search(taken.split, sealed, schema))
        work.parts.append(Part(group.indexes, sealed.data, str(schema.output_id), topics, rows))
        work.ledger += ledger_rows(group.batch, taken.split, sealed.usage, str(schema.output_id))
        self._measure(group.batch.runs[0].topic, sealed)

    def _schema(self, ref: SchemaRef) -> _Schema:
        known = self._compiled.get(str(ref))
        registered = self._schemas.get(ref)
        if known is not None and known.registered is registered:
            return known
        extract = self._residency.fields if self._residency is not None else ()
        compiled = compile_schema(
            registered.schema,
            self._declaration,
            references=registered.references,
            metadata_tags=registered.metadata_tags,
            extract=extract,
            earlier=registered.earlier,
            later=registered.later,
        )
        plan = compiled.plan
        if self._keys is not None:
            self._keys.check_values(plan.fields)
        if known is not None and known.compiled.plan == plan:
            return self._keep(ref, replace(known, registered=registered))
        output_id = self._schemas.output_id(ref, self._subject(plan.name), plan.output_schema)
        passed = passed_envelopes(plan.input_schema, self._accepted(), self._opener) if self._passes else None
        if passed is not None and passed.bind_keys and self._keys is not None and self._keys.replaces:
            raise DeclarationError("an envelope that is bound to its record's key can't pass while the key is replaced")
        schema = _Schema(registered, compiled, output_id, frame(output_id), passed)
        self._metrics.set("worker_schema_info", 1, route=self._route, schema=str(ref))
        return self._keep(ref, schema)

    def _keep(self, ref: SchemaRef, schema: _Schema) -> _Schema:
        self._compiled[str(ref)] = schema
        return schema

    def _split(
        self, group: _Group, schema: _Schema, work: _Work
    ) -> tuple[Split, dict[int, RecordError], dict[int, str]]:
        """Take a group apart; returns besides which of its records are refused, and which go to another topic."""
        bound, fields = work.keys.of(group.batch, group.indexes), schema.compiled.plan.fields
        split = schema.compiled.split_batch(group.batch, bound, group.start)
        refused = dict(split.errors)
        size = measured(group.batch, split, fields, range(len(group.batch)))
        if self._amplification is not None:
            refused |= self._amplification.errors(group.batch, split, fields, size)
        self._bound(work, *size)
        if schema.passed is not None:
            for i, error in schema.passed.errors(group.batch, group.start).items():
                refused.setdefault(i, error)
        return split, refused, self._judge(group.batch, split, refused)

    def _bound(self, work: _Work, values: int, size: int) -> None:
        """Add up what the batch becomes; raises `Oversized`."""
        work.values, work.bytes = work.values + values, work.bytes + size
        pieces = self._bounds.pieces(work.values, work.bytes) if self._bounds is not None else 1
        if pieces > 1 and len(work.batch) > 1:
            raise Oversized(min(pieces, len(work.batch)))

    def _judge(self, batch: Batch, split: Split, refused: dict[int, RecordError]) -> dict[int, str]:
        residency = self._residency
        if residency is None:
            return {}
        topics: dict[int, str] = {}
        said = split.extracted(residency.fields[0]) if residency.fields else residency.from_headers(batch)
        foreign = {text: verdict for text in set(said) if (verdict := residency.judge(text)) is not None}
        if not foreign:
            return {}
        for run in batch.runs:
            counts = {"forwarded": 0, "refused": 0}
            for i in range(run.start, run.stop):
                verdict = foreign.get(said[i])
                if verdict is None or i in refused:
                    continue
                if isinstance(verdict, Forward):
                    topics[i] = verdict.topic
                else:
                    refused[i] = ResidencyError(verdict)
                counts["forwarded" if isinstance(verdict, Forward) else "refused"] += 1
            for outcome, count in counts.items():
                if count:
                    labels = {"route": self._route, "topic": run.topic, "outcome": outcome}
                    self._metrics.inc("worker_residency_records_total", count, **labels)
        return topics

    def _search(self, split: Split, sealed: Sealed, schema: _Schema) -> Terms:
        if self._terms is None or not self._terms.wants(schema.compiled.plan.fields):
            return {}
        return self._terms.of(split.columns, sealed.envelopes)

    @staticmethod
    def _settle(
        group: _Group, refused: Mapping[int, RecordError], topics: Mapping[int, str], fates: Fates, fate: Fate
    ) -> None:
        for i, error in refused.items():
            fates.fail(group.indexes[i], error, "decode")
        if topics:
            fates.settle([group.indexes[i] for i in sorted(topics)], Fate.FORWARDED)
        fates.settle(fates.open(group.indexes), fate)

    def _timed(self, stage: str, started: float) -> None:
        self._metrics.observe("worker_stage_seconds", time.monotonic() - started, route=self._route, stage=stage)

    def _measure(self, topic: str, sealed: Sealed) -> None:
        labels = {"route": self._route, "topic": topic}
        for used in sealed.fields:
            self._metrics.inc("worker_values_total", used.values, format=used.plan.format, **labels)
            self._metrics.inc("worker_plaintext_bytes_total", used.plaintext_bytes, **labels)
            self._metrics.inc("worker_ciphertext_bytes_total", used.ciphertext_bytes, **labels)
