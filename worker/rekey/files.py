"""Container files encrypted anew: written beside their place, continued after a crash, moved there when whole."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import stamina

from worker import failpoints
from worker.avro.container import Block, ContainerReader, ContainerWriter, DatumSplitter, open_container
from worker.errors import DecodeError, FatalError, TransientError, WorkerError
from worker.rekey.keys import Way
from worker.rekey.pace import Pace
from worker.rekey.recode import Recoder
from worker.rekey.wanted import Wanted, said
from worker.sink.files import FileSink

Refused = Callable[[Path, int, int, WorkerError], None]
"""A file, a block's number, an index within it, and why that record stays as it was."""
_REKEYED = "worker.rekeyed"
_BATCH = 10_000
_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class FileDone:
    """
    What became of one file.

    Args:
        counts: records by outcome.
        complete: whether nothing is left to do.
        skipped: it was as wanted already.
        kept: records of a batch that could not be opened: the file stays as it was.
    """

    counts: dict[str, int] = field(default_factory=dict)
    complete: bool = True
    skipped: bool = False
    kept: int = 0


class FileRekey:
    """
    Encrypts container files anew, in place.

    Args:
        way: from old keys to new ones.
        wanted: how records are to be encrypted.
        refused: told each record that can't be opened; such a file stays as it was.
        pace: what may go by a second.
    """

    def __init__(self, way: Way, wanted: Wanted, refused: Refused, pace: Pace) -> None:
        self._way, self._wanted, self._refused, self._pace = way, wanted, refused, pace

    def rekey(self, path: Path, *, stopping: Callable[[], bool], observe: Callable[[int, int], None]) -> FileDone:
        """
        Encrypt one file anew, or continue where an earlier run left it.

        Raises:
            ConfigError: it is no container file, or its schema encrypts nothing.
            FatalError: a record can't be opened, or the file is damaged; it stays as it was.
            TransientError: something was away for too long.
        """
        with open_container(path) as (file, reader):
            compiled = self._wanted.compiled(reader.schema)
            mark = said(compiled).encode()
            if reader.metadata.get(_REKEYED) == mark:
                FileSink.tidy(path)
                return FileDone(skipped=True)
            metadata = {n: v for n, v in reader.metadata.items() if not n.startswith("avro.")} | {_REKEYED: mark}
            identity = _identity(file, reader, mark)
            sync = hashlib.sha256(f"sync {identity}".encode()).digest()[:16]
            writer = ContainerWriter(compiled.plan.output_schema, codec=reader.codec, sync=sync, metadata=metadata)
            recoder = self._way.recoder(reader.schema, compiled)
            with FileSink(path, identity, replaces=True) as sink:
                try:
                    return self._copy(file, path, reader, _Copying(writer, sink, recoder), stopping, observe)
                except _Unopened as exc:
                    return FileDone(kept=exc.count)

    def _copy(
        self,
        file: BinaryIO,
        path: Path,
        reader: ContainerReader,
        to: _Copying,
        stopping: Callable[[], bool],
        observe: Callable[[int, int], None],
    ) -> FileDone:
        at, splitter = to.sink.checkpoint, DatumSplitter(reader.schema)
        counts, size = Counter(at.counts), os.fstat(file.fileno()).st_size
        if not at.written:
            to.sink.write(to.writer.header)
        read, number = at.read or reader.first_block, at.blocks
        try:
            for block in reader.blocks(read):
                if stopping():
                    return FileDone(dict(counts), complete=False)
                self._block(path, number, block, splitter, to)
                counts["encrypted"] += block.count
                number += 1
                failpoints.hit("before_commit")
                to.sink.commit(read=block.end, blocks=number, counts=counts)
                observe(block.end, size)
                self._pace.wait(block.count)
        except DecodeError as exc:
            raise FatalError(f"{path}: {exc}; it stays as it was") from exc
        to.sink.commit(read=size, blocks=number, counts=counts)
        to.sink.finish()
        return FileDone(dict(counts))

    def _block(self, path: Path, number: int, block: Block, splitter: DatumSplitter, to: _Copying) -> None:
        datums, rest = splitter.split(block)
        if rest is not None:
            raise rest[1]
        for start in range(0, len(datums), _BATCH):
            part = datums[start : start + _BATCH]
            new, errors = self._patiently(part, to.recoder)
            for i, error in sorted(errors.items()):
                self._refused(path, number, start + i, error)
            if errors:
                # One file has one schema: an old envelope has no place beside the new ones.
                raise _Unopened(len(errors))
            to.sink.write(to.writer.block([datum for datum in new if datum is not None]))

    @staticmethod
    def _patiently(datums: Sequence[bytes], recoder: Recoder) -> tuple[list[bytes | None], dict[int, WorkerError]]:
        keys: list[bytes | None] = [None] * len(datums)
        for attempt in stamina.retry_context(on=TransientError, attempts=None, timeout=_PATIENCE_S, wait_max=10.0):
            with attempt:
                recoded = recoder.recode(recoder.split(datums, keys), keys)
                return recoded.data, recoded.errors
        raise AssertionError("the last attempt returns or raises")


class _Unopened(Exception):
    """A batch has records that can't be opened."""

    def __init__(self, count: int) -> None:
        self.count = count


@dataclass(frozen=True, slots=True)
class _Copying:
    """Where a file's new blocks go."""

    writer: ContainerWriter
    sink: FileSink
    recoder: Recoder


def _identity(file: BinaryIO, reader: ContainerReader, mark: bytes) -> str:
    """Return what tells this input and what is made of it from any other."""
    facts = os.fstat(file.fileno())
    what = [facts.st_size, facts.st_mtime_ns, reader.sync.hex(), reader.codec, mark.decode()]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
