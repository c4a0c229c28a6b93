"""A topic's records as `worker decrypt` shows them: as lines, or as JSON Lines that are made in native memory."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import cast

from worker.avro.frame import VALUE_HEADER
from worker.avro.text import text_of
from worker.cli.container import decrypted, failure, not_encrypted
from worker.cli.printing import json_line
from worker.cli.sources import Line, Reader, Selection
from worker.cli.topic import SchemaOf, Topic
from worker.errors import DeclarationError, RecordError, WorkerError
from worker.model import Batch, DecryptionKeys, Indexes, SourceRecord, records_of
from worker.native import extension
from worker.native.batch import NativeBatch
from worker.sdk import Regions
from worker.sdk.texts import RecordTexts, record_texts

Text = tuple[bytes, int]
"""Lines, and how many of them are errors."""
Texts = Callable[[Reader, int | None], Iterator[Text]]
_Tails = list[tuple[Sequence[int] | None, "extension.JsonColumn"]]


@dataclass(frozen=True, slots=True)
class TopicRecords:
    """
    A topic's records from its start, or `--from`, to its present end.

    Args:
        topic: which.
        schemas: tells each record's.
        selection: which records are shown.
        clear: names of schemas whose records may be in the clear.
        region: whose topic it is; None where nothing says so.
    """

    topic: Topic
    schemas: SchemaOf
    selection: Selection
    clear: Collection[str]
    region: str | None

    def lines(self, encryption: Reader) -> Iterator[Line]:
        """Yield the records that are shown, each opened or with its error."""
        for batch in self._batches():
            yield from self._shown(batch, encryption)

    def texts(self, encryption: Reader, limit: int | None) -> Iterator[Text]:
        """Yield the same as JSON Lines, a batch at a time; at most `limit` of them."""
        for batch in self._batches():
            if isinstance(batch, NativeBatch) and not self.selection.where:
                some = batch if limit is None or limit >= len(batch) else batch.select(range(limit))
                text, count = _NativeLines(self, encryption, some).text(), len(some)
            else:
                lines = list(islice(self._shown(batch, encryption), limit))
                text, count = (b"".join(map(json_line, lines)), sum("error" in line for line in lines)), len(lines)
            yield text
            if limit is not None:
                limit -= count
                if not limit:
                    return

    def _batches(self) -> Iterator[Batch]:
        for batch in self.topic.batches(since_ms=self.selection.since_ms):
            yield self.selection.of_batch(batch)

    def _shown(self, batch: Batch, encryption: Reader) -> Iterator[Line]:
        return self.selection.chosen(self._opened(list(records_of(batch)), encryption))

    def _opened(self, records: Sequence[SourceRecord], encryption: Reader) -> list[Line]:
        lines = [_coordinates(record) for record in records]
        by_schema: dict[str, list[tuple[int, bytes]]] = {}
        for i, record in enumerate(records):
            if record.value is None:
                lines[i]["value"] = None
                continue
            try:
                schema, start = self.schemas(record)
                by_schema.setdefault(schema, []).append((i, record.value[start:]))
            except RecordError as exc:
                lines[i] |= failure(exc)
        for schema, found in by_schema.items():
            keys = [records[i].key for i, _ in found]
            datums = [datum for _, datum in found]
            opened = decrypted(encryption, datums, schema, keys=keys, clear=self.clear, region=self.region)
            for (i, _), value in zip(found, opened, strict=True):
                lines[i] |= failure(value) if isinstance(value, WorkerError) else {"value": value}
        return lines


class _NativeLines:
    """Makes the lines of one batch that lies in native memory."""

    def __init__(self, records: TopicRecords, encryption: Reader, batch: NativeBatch) -> None:
        self._records, self._encryption, self._batch = records, encryption, batch
        self._tails: _Tails = []
        self._told: dict[int, bytes] = {}
        self._failed = 0

    def text(self) -> Text:
        """Return a line for each record, and how many are errors."""
        groups: dict[tuple[str, int], list[Indexes]] = {}
        frames = self._batch.frames("value", VALUE_HEADER)
        for i in frames.absent:
            self._told[i] = text_of({"value": None})
        for indexes in [*frames.groups.values(), *([i] for i in (*frames.named, *frames.bare))]:
            try:
                named = self._records.schemas(self._batch.record(indexes[0]))
            except RecordError as exc:
                self._fail(dict.fromkeys(indexes, exc))
            else:
                groups.setdefault(named, []).append(indexes)
        for (schema, start), several in groups.items():
            self._open(schema, start, several[0] if len(several) == 1 else sorted(i for each in several for i in each))
        if self._told:
            self._tails.append((list(self._told), extension.JsonColumn(list(self._told.values()))))
        return extension.json_lines(self._batch.native, self._tails), self._failed

    def _fail(self, errors: dict[int, WorkerError]) -> None:
        self._failed += len(errors)
        self._told |= {i: text_of(failure(error)) for i, error in errors.items()}

    def _open(self, schema: str, start: int, indexes: Indexes) -> None:
        try:
            found = self._decrypted(schema, start, indexes)
        except DeclarationError as exc:
            self._fail(dict.fromkeys(indexes, not_encrypted(exc)))
            return
        for places, column in found.columns:
            self._tails.append((indexes if places is None else [indexes[i] for i in places], column))
        self._fail({indexes[i]: error for i, error in found.errors.items()})

    def _decrypted(self, schema: str, start: int, indexes: Indexes) -> RecordTexts:
        some = self._batch if len(indexes) == len(self._batch) else self._batch.select(indexes)
        encryption, region = self._encryption, self._records.region
        if isinstance(encryption, Regions):
            source: AbstractContextManager[DecryptionKeys] = encryption.source(region, None)()
        else:
            source = encryption.reading(None, once=True)
        values = cast("Sequence[bytes]", some.values)  # None of a group is a tombstone.
        return record_texts(values, some.keys, start, schema, source, self._records.clear)


def _coordinates(record: SourceRecord) -> Line:
    at = record.position
    line: Line = {"topic": at.topic, "partition": at.partition, "offset": at.offset}
    line["timestamp_ms"] = record.timestamp_ms
    if record.key is None:
        line["key"] = None
        return line
    try:
        line["key"] = record.key.decode()
    except UnicodeDecodeError:
        line["key_base64"] = base64.b64encode(record.key).decode()
    return line
