"""Encrypts Avro object container files with the stages of the stream: block by block, continued after a crash."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeVar

import stamina

from worker import failpoints
from worker.avro import DeclarationOptions, compile_schema, encode_value, frame
from worker.avro.container import Block, ContainerReader, ContainerWriter, DatumSplitter
from worker.avro.embedded import EmbeddedSchemas
from worker.errors import ConfigError, DecodeError, FatalError, TransientError
from worker.model import Batch, EncryptionPlan, Fate, Output, Position, SourceRecord, batch_of, halves
from worker.pipeline.amplified import Oversized
from worker.pipeline.job import Failure
from worker.pipeline.letterfile import LETTERS
from worker.pipeline.options import DeliveryOptions
from worker.pipeline.stages import DeadLetterSealer, Processor
from worker.sink.files import FileSink

_T = TypeVar("_T")
_IDENTITY = "worker.identity"
Observe = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class EncryptedFile:
    """
    What became of one file.

    Args:
        counts: records by outcome, those of an earlier, interrupted run included.
        complete: whether the whole file is in its place.
        skipped: it already was.
    """

    counts: dict[str, int] = field(default_factory=dict)
    complete: bool = True
    skipped: bool = False


@dataclass(slots=True)
class _Way:
    """How far one file has come in this run."""

    name: str
    prefix: bytes
    splitter: DatumSplitter
    writer: ContainerWriter
    sink: FileSink
    counts: Counter[str]
    blocks: int
    read: int
    committed_at: float = field(default_factory=time.monotonic)


class FileEncryptor:
    """
    Encrypts files as a route's records are encrypted: same declaration, plan, output schema and envelopes.

    Args:
        processor: of the route, over `schemas`.
        schemas: takes the files' own schemas.
        dead_letters: seals what fails; a letter's coordinates are the file's name, block and index within the block.
        declaration: the route's, to know a file's output schema before its first record.
        options: bounds of a batch, of pauses, and of how long something written is not durable.
        patience_s: how long something may be away before the command gives up; a later run continues.
    """

    def __init__(
        self,
        processor: Processor,
        schemas: EmbeddedSchemas,
        dead_letters: DeadLetterSealer,
        *,
        declaration: DeclarationOptions,
        options: DeliveryOptions,
        patience_s: float = 60.0,
    ) -> None:
        self._processor, self._schemas, self._dead_letters = processor, schemas, dead_letters
        self._declaration, self._options, self._patience_s = declaration, options, patience_s

    def encrypt(
        self, source: Path, name: str, target: Path, *, stopping: Callable[[], bool], observe: Observe
    ) -> EncryptedFile:
        """
        Encrypt one file, or continue where an earlier run left it.

        Args:
            source: the container file.
            name: what letters call it, and what its output is bound to.
            target: where the output goes.
            stopping: asked between batches; a stopped file is continued by the next run.
            observe: told how many bytes of how many are done.

        Raises:
            ConfigError: the file is none, its schema can't be kept, or what is at `target` is not of this file.
            FatalError: the file is damaged; nothing of it is put in its place.
            TransientError: something was away for longer than `patience_s`.
        """
        try:
            file = source.open("rb")
        except OSError as exc:
            raise ConfigError(f"{source}: {exc.strerror}") from exc
        with file:
            return self._encrypt(file, source, name, target, stopping, observe)

    def _encrypt(
        self, file: BinaryIO, source: Path, name: str, target: Path, stopping: Callable[[], bool], observe: Observe
    ) -> EncryptedFile:
        try:
            reader = ContainerReader(file)
        except DecodeError as exc:
            raise ConfigError(f"{source}: {exc}") from exc
        registered = self._schemas.add(reader.schema)
        plan = compile_schema(
            registered.schema, self._declaration, earlier=registered.earlier, later=registered.later
        ).plan
        _refuse_keys(source, plan)
        identity = _identity(file, name, reader, plan)
        if target.exists():
            _refuse_stranger(target, identity)
            FileSink.tidy(target)
            return EncryptedFile(skipped=True)
        sync = hashlib.sha256(f"sync {identity}".encode()).digest()[:16]
        writer = ContainerWriter(
            plan.output_schema, codec=reader.codec, sync=sync, metadata={_IDENTITY: identity.encode()}
        )
        with FileSink(target, identity) as sink:
            at = sink.checkpoint
            way = _Way(
                name,
                frame(registered.ref.id or 0),
                DatumSplitter(reader.schema),
                writer,
                sink,
                Counter(at.counts),
                at.blocks,
                at.read or reader.first_block,
            )
            if not at.written:
                sink.write(writer.header)
            size = os.fstat(file.fileno()).st_size
            for batch in self._batches(reader, way.read, source):
                if stopping():
                    self._commit(way)
                    return EncryptedFile(dict(way.counts), complete=False)
                self._deliver(way, batch)
                observe(way.read, size)
            self._commit(way)
            sink.finish()
        return EncryptedFile(dict(way.counts))

    def _batches(self, reader: ContainerReader, start: int, source: Path) -> Iterator[list[Block]]:
        batch: list[Block] = []
        try:
            for block in reader.blocks(start):
                batch.append(block)
                full = sum(b.count for b in batch) >= self._options.max_records
                if full or sum(len(b.data) for b in batch) >= self._options.max_bytes:
                    yield batch
                    batch = []
        except DecodeError as exc:
            if batch:
                yield batch
            raise FatalError(f"{source}: {exc}; mend or replace the file, and begin it anew") from exc
        if batch:
            yield batch

    def _deliver(self, way: _Way, batch: Sequence[Block]) -> None:
        records: list[SourceRecord] = []
        failures: list[Failure] = []
        for number, block in enumerate(batch, way.blocks):
            datums, rest = way.splitter.split(block)
            records += [
                SourceRecord(Position(way.name, number, i), None, way.prefix + datum) for i, datum in enumerate(datums)
            ]
            if rest is not None:
                # Behind a datum that does not decode nobody knows where the next one starts: one letter has them all.
                place = Position(way.name, number, len(datums))
                failures.append(Failure(SourceRecord(place, None, rest[0]), rest[1], "decode"))
                way.counts["dead"] += max(0, block.count - len(datums))
        self._process(way, batch_of(records), failures)
        way.blocks, way.read = way.blocks + len(batch), batch[-1].end
        if time.monotonic() - way.committed_at >= self._options.max_latency_ms / 1000:
            self._commit(way)

    def _process(self, way: _Way, batch: Batch, failures: list[Failure]) -> None:
        try:
            result = self._patiently(lambda: self._processor.process(batch))
        except Oversized:
            for i, half in enumerate(halves(batch)):
                # What does not decode stands behind all that does.
                self._process(way, half, failures if i else [])
            return
        failpoints.hit("after_process")
        failed = result.failures
        way.counts["dead"] += len(failed)
        self._write(way, result.output, [*failures, *(_bare(failure, len(way.prefix)) for failure in failed)])
        way.counts.update({fate.outcome: n for fate, n in result.fates.counts().items() if fate is not Fate.FAILED})

    def _write(self, way: _Way, output: Output, failures: Sequence[Failure]) -> None:
        if failures:
            letters = self._patiently(lambda: self._dead_letters.seal(failures))
            sealed = ContainerWriter(LETTERS, codec="null", sync=hashlib.sha256(way.name.encode()).digest()[:16])
            if not way.sink.dead_bytes:
                way.sink.write_dead(sealed.header)
            rows = [{"key": x.key.decode(), "value": x.value, "headers": dict(x.headers)} for x in letters]
            way.sink.write_dead(sealed.block([encode_value(LETTERS, row) for row in rows]))
        blocks: dict[int, list[bytes]] = {}
        for run in output.runs:
            datums = blocks.setdefault(run.partition, [])
            datums += [(value or b"")[len(way.prefix) :] for value in output.values[run.start : run.stop]]
        for datums in blocks.values():
            way.sink.write(way.writer.block(datums))
        failpoints.hit("after_write")

    def _commit(self, way: _Way) -> None:
        failpoints.hit("before_commit")
        way.sink.commit(read=way.read, blocks=way.blocks, counts=way.counts)
        way.committed_at = time.monotonic()
        failpoints.hit("after_commit")

    def _patiently(self, act: Callable[[], _T]) -> _T:
        pauses = {"wait_initial": self._options.retry_s, "wait_max": self._options.max_retry_s}
        for attempt in stamina.retry_context(on=TransientError, attempts=None, timeout=self._patience_s, **pauses):
            with attempt:
                return act()
        raise AssertionError("the last attempt returns or raises")


def _bare(failure: Failure, prefix: int) -> Failure:
    record = failure.record
    return Failure(SourceRecord(record.position, None, (record.value or b"")[prefix:]), failure.error, failure.stage)


def _refuse_keys(source: Path, plan: EncryptionPlan) -> None:
    bound = [field.identity for field in plan.fields if "$key" in field.bind]
    if bound:
        raise ConfigError(f"{source}: {', '.join(bound)} binds $key, and records of a file have no key")


def _identity(file: BinaryIO, name: str, reader: ContainerReader, plan: EncryptionPlan) -> str:
    """Return what tells this input and what is made of it from any other."""
    facts = os.fstat(file.fileno())
    said = [name, facts.st_size, facts.st_mtime_ns, reader.sync.hex(), reader.codec, reader.schema, plan.output_schema]
    said += [field.keyset or "" for field in plan.fields]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _refuse_stranger(target: Path, identity: str) -> None:
    try:
        with target.open("rb") as file:
            found = ContainerReader(file).metadata.get(_IDENTITY, b"").decode("ascii", "replace")
    except DecodeError as exc:
        raise ConfigError(f"{target} is there and no output of this command; choose another --out") from exc
    if found != identity:
        raise ConfigError(
            f"{target} was made from another input, schema or settings; remove it or choose another --out"
        )
