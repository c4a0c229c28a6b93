"""What is encrypted, in the clear and under its original schema: for whoever leaves."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

import stamina

from worker.avro import open_schema
from worker.avro.container import ContainerWriter
from worker.avro.rows import RowReader
from worker.avro.schema import parse
from worker.encryption import BatchDecryptor
from worker.errors import ConfigError, FatalError, TransientError, WorkerError, unwritten
from worker.sink.postgres.plain import PlainTable

Refused = Callable[[Mapping[str, object], WorkerError], None]
"""Where a record is that does not open, and why."""
_PATIENCE_S = 600.0


class Target(Protocol):
    """Where records go in the clear; nothing of it counts before `finish`."""

    def add(self, schema: str, datums: Sequence[bytes]) -> None:
        """Take records of one schema."""
        ...

    def finish(self) -> None:
        """Make all of it count."""
        ...

    def close(self) -> None:
        """Forget what does not count; safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class Batch:
    """
    Stored records of one output schema.

    Args:
        schema: JSON text.
        datums: without a frame.
        keys: the records' keys.
        places: where each is, for errors.
    """

    schema: str
    datums: Sequence[bytes] = field(repr=False)
    keys: Sequence[bytes | None] = field(repr=False)
    places: Sequence[Mapping[str, object]]


class Export:
    """
    Opens records and hands them to a target.

    Args:
        opener: under the credentials of whoever exports.
        target: where they go.
        leave_out: go on without what does not open, instead of stopping.
        refused: told each record that does not open.
        clear: names of records that may have nothing encrypted.
    """

    def __init__(
        self,
        opener: BatchDecryptor,
        target: Target,
        *,
        leave_out: bool,
        refused: Refused,
        clear: Collection[str] = (),
    ) -> None:
        self._opener, self._target, self._clear = opener, target, clear
        self._leave_out, self._refused = leave_out, refused
        self.exported = self.left_out = 0

    def add(self, batch: Batch) -> None:
        """
        Open a batch and hand it over.

        Raises:
            FatalError: a record does not open, and none is to be left out.
            DeclarationError: its schema encrypts nothing: what looks like a value may be an envelope.
        """
        schema = open_schema(batch.schema)
        schema.refuse_clear(self._clear)
        for attempt in stamina.retry_context(on=TransientError, attempts=None, timeout=_PATIENCE_S, wait_max=10.0):
            with attempt:
                opened = self._opener.open(schema.split_batch(batch.datums, batch.keys))
        errors: dict[int, WorkerError] = {**opened.errors, **opened.denied}
        for i, error in sorted(errors.items()):
            self.refuse(batch.places[i], error)
        good = [datum for datum in opened.data if datum is not None]
        if good:
            self._target.add(schema.writer_schema, good)
        self.exported += len(good)

    def refuse(self, place: Mapping[str, object], error: WorkerError) -> None:
        """Note a record that can't be opened; raises `FatalError` where none is to be left out."""
        self._refused(place, error)
        self.left_out += 1
        if not self._leave_out:
            where = ", ".join(f"{name} {value}" for name, value in place.items())
            raise FatalError(
                f"{where}: {error}; nothing was exported. Go on without such records with --on-error leave-out"
            )


class ContainerTarget:
    """
    Avro container files, one a schema; written beside their places, and moved there together at the end.

    Args:
        path: of the first; a further schema's is `<name>-2.avro` and so on.
        codec: of the blocks.

    Raises:
        ConfigError: there is such a file already.
    """

    def __init__(self, path: Path, *, codec: str = "deflate") -> None:
        self._path, self._codec = path, codec
        self._files: dict[str, tuple[Path, BinaryIO, ContainerWriter]] = {}
        if path.exists():
            raise ConfigError(f"{path} is there already; export to another name")

    def add(self, schema: str, datums: Sequence[bytes]) -> None:
        """Append a block."""
        if schema not in self._files:
            self._files[schema] = begun = self._begun(schema)
            self._write(*begun[:2], begun[2].header)
        path, file, writer = self._files[schema]
        self._write(path, file, writer.block(datums))

    def finish(self) -> None:
        """Put the files in their places."""
        try:
            for _, file, _ in self._files.values():
                file.flush()
                os.fsync(file.fileno())
                file.close()
            for path in self.paths:
                _partial(path).rename(path)
        except OSError as exc:
            raise unwritten(self._path, exc) from exc

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [path for path, _, _ in self._files.values()]

    def close(self) -> None:
        """Remove what is not whole: it is in the clear."""
        for path, file, _ in self._files.values():
            # What a full disk did not take would be tried, and told, a second time.
            with contextlib.suppress(OSError):
                file.close()
            _partial(path).unlink(missing_ok=True)

    def _begun(self, schema: str) -> tuple[Path, BinaryIO, ContainerWriter]:
        number = len(self._files) + 1
        name = self._path.name if number == 1 else f"{self._path.stem}-{number}{self._path.suffix}"
        path = self._path.with_name(name)
        if path.exists():
            raise ConfigError(f"{path} is there already; export to another name")
        writer = ContainerWriter(schema, codec=self._codec, sync=hashlib.sha256(os.urandom(32)).digest()[:16])
        try:
            # In the clear: for its owner alone.
            handle = os.open(_partial(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError as exc:
            raise unwritten(path, exc) from exc
        return path, os.fdopen(handle, "wb"), writer

    @staticmethod
    def _write(path: Path, file: BinaryIO, data: bytes) -> None:
        try:
            file.write(data)
        except OSError as exc:
            raise unwritten(path, exc) from exc


class TableTarget:
    """
    A table of plain types.

    Args:
        table: takes the rows; closed together with this.
    """

    def __init__(self, table: PlainTable) -> None:
        self._table = table
        self._readers: dict[str, RowReader] = {}

    def add(self, schema: str, datums: Sequence[bytes]) -> None:
        """Copy records; raises as `PlainTable.add`."""
        reader = self._readers.get(schema)
        if reader is None:
            reader = self._readers[schema] = RowReader(parse(schema))
        self._table.add(reader.type, [reader.row(datum) for datum in datums])

    def finish(self) -> None:
        """Commit."""
        self._table.finish()

    def close(self) -> None:
        """Forget what was not committed."""
        self._table.close()


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")
