"""From source records to sink records: the only module that knows the order of the stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from worker.avro import (
    CompiledSchema,
    DeclarationOptions,
    SchemaRef,
    SchemaSource,
    SplitBatch,
    compile_schema,
    frame,
    parse_frame,
)
from worker.encryption import BatchEncryptor, Encrypted
from worker.errors import ConfigError, DeclarationError, DecodeError, RecordError
from worker.metrics import Metrics
from worker.model import Header, SinkRecord, SourceRecord, ValueColumn
from worker.pipeline.job import Failure, Processed
from worker.pipeline.keys import Group, Keys, RecordKeys, unchanged
from worker.pipeline.ledger import ledger_rows
from worker.pipeline.passed import PassedEnvelopes, passed_envelopes
from worker.pipeline.residency import Forward, Residency
from worker.pipeline.verify import OutputVerifier
from worker.sink.base import LedgerRow

_INPUT_SCHEMA_HEADERS = frozenset({"__value_schema_id", "__key_schema_id"})


@dataclass(frozen=True, slots=True)
class _Schema:
    """One compiled input schema and what its output is framed with."""

    compiled: CompiledSchema
    output_id: int
    prefix: bytes
    passed: PassedEnvelopes | None


class BatchProcessor:
    """
    Decode the frame, compile the schema (once per id), split, judge residency, encrypt, join, frame.

    A record leaves as a sink record or as a failure, never both, never neither; nothing declared leaves in the clear.

    Args:
        route: the route's name.
        schemas: input schemas by reference, and output ids.
        declaration: defaults and policies.
        encryptor: seals columns.
        metrics: written to once a batch.
        subject: full name of a record -> subject under which its output schema is registered.
        rows: whether the sink wants rows.
        keys: what becomes of record keys; None: they pass as they are.
        residency: which records may be written here; None: all.
        verifier: decrypts a sample before it is written; None: none.
        accepted: keysets whose envelopes may pass as they are, where the declaration says `pass`.
    """

    def __init__(
        self,
        *,
        route: str,
        schemas: SchemaSource,
        declaration: DeclarationOptions,
        encryptor: BatchEncryptor,
        metrics: Metrics,
        subject: Callable[[str], str],
        rows: bool = False,
        keys: RecordKeys | None = None,
        residency: Residency | None = None,
        verifier: OutputVerifier | None = None,
        accepted: Callable[[], frozenset[UUID]] = frozenset,
    ) -> None:
        self._route = route
        self._schemas = schemas
        self._declaration = declaration
        self._encryptor = encryptor
        self._metrics = metrics
        self._subject = subject
        self._rows = rows
        self._keys = keys
        self._residency = residency
        self._verifier = verifier
        self._accepted, self._passes = accepted, declaration.already_encrypted == "pass"
        self._compiled: dict[str, _Schema] = {}

    def process(self, records: Sequence[SourceRecord]) -> Processed:
        """
        Process a batch, whole.

        Raises:
            TransientError: the authority or the registry is away; call again with the same records.
            ConfigError: a schema can't be kept to (`DeclarationError`), or the registry refuses the credentials.
            FatalError: the authority refuses this identity, or its keys don't hold.
        """
        outputs: list[SinkRecord | None] = [None] * len(records)
        keys = self._keys.process(records) if self._keys is not None else unchanged(records)
        failures = {i: Failure(records[i], error, "decode") for i, error in keys.errors.items()}
        ledger: list[LedgerRow] = []
        for group in self._group(records, keys, outputs, failures):
            self._process_group(group, records, keys, outputs, failures, ledger)
        return Processed(
            [record for record in outputs if record is not None], [failures[i] for i in sorted(failures)], ledger
        )

    def _group(
        self,
        records: Sequence[SourceRecord],
        keys: Keys,
        outputs: list[SinkRecord | None],
        failures: dict[int, Failure],
    ) -> list[Group]:
        groups: dict[str, Group] = {}
        seen: dict[bytes, Group] = {}
        for i, record in enumerate(records):
            if i in failures:
                continue
            value = record.value
            if value is None:
                outputs[i] = _sink_record(record, keys, i, None)
                continue
            # A frame in the value's first 5 bytes says all there is, unless a header names the schema.
            group = seen.get(value[:5]) if not record.headers else None
            start = 5
            if group is None:
                try:
                    if not value:
                        raise DecodeError("the value is empty; a tombstone has none at all")
                    ref, start = parse_frame(value, record.headers)
                except RecordError as exc:
                    failures[i] = Failure(record, exc, "decode")
                    continue
                group = groups.setdefault(str(ref), Group(ref))
                if start == 5 and not record.headers:
                    seen[value[:5]] = group
            group.indexes.append(i)
            group.payloads.append(value[start:])
        return list(groups.values())

    def _process_group(
        self,
        group: Group,
        records: Sequence[SourceRecord],
        keys: Keys,
        outputs: list[SinkRecord | None],
        failures: dict[int, Failure],
        ledger: list[LedgerRow],
    ) -> None:
        members = [records[i] for i in group.indexes]
        try:
            schema = self._schema(group.ref)
        except RecordError as exc:
            failures.update({i: Failure(records[i], exc, "decode") for i in group.indexes})
            return
        except DeclarationError as exc:
            raise DeclarationError(f"{members[0].position}: schema {group.ref}: {exc}", path=exc.path) from exc
        started = time.monotonic()
        bound = [keys.data[i] for i in group.indexes]
        split = schema.compiled.split(group.payloads, bound)
        self._timed("decode", started)
        failed = {i: Failure(members[i], error, "decode") for i, error in split.errors.items()}
        if schema.passed is not None:
            for i, error in schema.passed.errors(group.payloads, bound).items():
                failed.setdefault(i, Failure(members[i], error, "decode"))
        topics = self._judge(members, split, failed)
        started = time.monotonic()
        encrypted = self._encrypt(split.columns, failed)
        for i, error in encrypted.errors.items():
            failed.setdefault(i, Failure(members[i], error, "encrypt"))
        if self._verifier is not None:
            self._verifier.verify(split.columns, encrypted.envelopes, failed)
        self._timed("encrypt", started)
        data = split.join(encrypted.envelopes, skip=failed.keys())
        self._emit(group, members, keys, schema, data, topics, failed, outputs)
        failures.update({group.indexes[i]: failure for i, failure in failed.items()})
        ledger += ledger_rows(members, split.columns, failed, encrypted.usage, str(schema.output_id))
        self._measure(members, split.columns, encrypted)

    def _schema(self, ref: SchemaRef) -> _Schema:
        known = self._compiled.get(str(ref))
        if known is not None:
            return known
        registered = self._schemas.get(ref)
        extract = self._residency.fields if self._residency is not None else ()
        compiled = compile_schema(
            registered.schema,
            self._declaration,
            references=registered.references,
            metadata_tags=registered.metadata_tags,
            extract=extract,
            earlier=registered.earlier,
        )
        plan = compiled.plan
        if self._keys is not None:
            self._keys.check_values(plan.fields)
        output_id = self._schemas.output_id(ref, self._subject(plan.name), plan.output_schema)
        passed = passed_envelopes(plan.input_schema, self._accepted()) if self._passes else None
        schema = self._compiled[str(ref)] = _Schema(compiled, output_id, frame(output_id), passed)
        self._metrics.set("worker_schema_info", 1, route=self._route, schema=str(ref))
        return schema

    def _judge(self, members: Sequence[SourceRecord], split: SplitBatch, failed: dict[int, Failure]) -> dict[int, str]:
        residency = self._residency
        if residency is None:
            return {}
        texts = split.extracted[residency.fields[0]] if residency.fields else [None] * len(members)
        topics: dict[int, str] = {}
        for i, (record, text) in enumerate(zip(members, texts, strict=True)):
            if i in failed:
                continue
            verdict = residency.judge(record, text)
            if isinstance(verdict, Forward):
                topics[i] = verdict.topic
            elif verdict is not None:
                failed[i] = Failure(record, verdict, "decode")
            if verdict is not None:
                outcome = "forwarded" if isinstance(verdict, Forward) else "refused"
                topic = record.position.topic
                self._metrics.inc("worker_residency_records_total", route=self._route, topic=topic, outcome=outcome)
        return topics

    def _encrypt(self, columns: Sequence[ValueColumn], failed: dict[int, Failure]) -> Encrypted:
        if not failed:
            return self._encryptor.encrypt(columns)
        # Values of records that were refused get no key; their places stay, so that the columns keep their shape.
        kept = [[i for i, record in enumerate(c.records) if record not in failed] for c in columns]
        narrow = [_pick(column, at) for column, at in zip(columns, kept, strict=True)]
        encrypted = self._encryptor.encrypt(narrow)
        for column, at, n in zip(columns, kept, range(len(columns)), strict=True):
            full = [b""] * len(column.values)
            for i, envelope in zip(at, encrypted.envelopes[n], strict=True):
                full[i] = envelope
            encrypted.envelopes[n] = full
        return encrypted

    def _emit(
        self,
        group: Group,
        members: Sequence[SourceRecord],
        keys: Keys,
        schema: _Schema,
        data: Sequence[bytes | None],
        topics: dict[int, str],
        failed: dict[int, Failure],
        outputs: list[SinkRecord | None],
    ) -> None:
        rows = self._table_rows(schema.compiled, data) if self._rows else {}
        schema_id, prefix = str(schema.output_id), schema.prefix
        for i, (record, datum) in enumerate(zip(members, data, strict=True)):
            if i in failed:
                continue
            if datum is None:
                failed[i] = Failure(record, DecodeError("the record could not be put together again"), "encrypt")
                continue
            row, topic = rows.get(i) if rows else None, topics.get(i) if topics else None
            at = group.indexes[i]
            outputs[at] = _sink_record(record, keys, at, prefix + datum, schema_id, row, topic)

    @staticmethod
    def _table_rows(compiled: CompiledSchema, data: Sequence[bytes | None]) -> dict[int, dict[str, object]]:
        at = [i for i, datum in enumerate(data) if datum is not None]
        return dict(zip(at, compiled.rows([datum for datum in data if datum is not None]), strict=True))

    def _timed(self, stage: str, started: float) -> None:
        self._metrics.observe("worker_stage_seconds", time.monotonic() - started, route=self._route, stage=stage)

    def _measure(self, members: Sequence[SourceRecord], columns: Sequence[ValueColumn], encrypted: Encrypted) -> None:
        labels = {"route": self._route, "topic": members[0].position.topic}
        for column, envelopes in zip(columns, encrypted.envelopes, strict=True):
            count = sum(1 for envelope in envelopes if envelope)
            self._metrics.inc("worker_values_total", count, format=column.plan.format, **labels)
            self._metrics.inc("worker_plaintext_bytes_total", sum(map(len, column.values)), **labels)
            self._metrics.inc("worker_ciphertext_bytes_total", sum(map(len, envelopes)), **labels)


def subject_of(strategy: str, topic: str) -> Callable[[str], str]:
    """
    Return the function from a record's full name to its subject.

    Args:
        strategy: `topic`, `record` or `topic-record`.
        topic: the sink's topic or table.
    """
    strategies: dict[str, Callable[[str], str]] = {
        "topic": lambda _name: f"{topic}-value",
        "record": lambda name: name,
        "topic-record": lambda name: f"{topic}-{name}",
    }
    if strategy not in strategies:
        raise ConfigError(f"subject_strategy {strategy!r} is none of {', '.join(strategies)}")
    return strategies[strategy]


def _pick(column: ValueColumn, at: Sequence[int]) -> ValueColumn:
    return ValueColumn(
        column.plan,
        [column.values[i] for i in at],
        [column.records[i] for i in at],
        None if column.contexts is None else [column.contexts[i] for i in at],
        None if column.binds is None else [column.binds[i] for i in at],
    )


def _sink_record(
    record: SourceRecord,
    keys: Keys,
    at: int,
    value: bytes | None,
    schema_id: str = "",
    row: dict[str, object] | None = None,
    topic: str | None = None,
) -> SinkRecord:
    headers: Sequence[Header] = record.headers
    if headers:
        headers = [h for h in headers if h[0] not in _INPUT_SCHEMA_HEADERS]
    return SinkRecord(
        record.position,
        keys.data[at],
        value,
        headers,
        record.timestamp_type,
        record.timestamp_ms,
        row,
        keys.rows[at],
        schema_id,
        topic,
    )
