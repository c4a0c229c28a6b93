"""What `worker decrypt` reads, as lines: tables, files, and envelopes on standard input; and which are shown."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from worker import jsonform
from worker.cli import output
from worker.cli.container import failure, file_lines
from worker.cli.moments import moment
from worker.cli.summary import bars
from worker.errors import ConfigError, RecordError, WorkerError
from worker.model import Batch
from worker.sdk import Encryption, Regions, Table
from worker.sink.postgres.query import rows_of
from worker.textfile import read_text

Line = dict[str, object]
Reader = Encryption | Regions
Lines = Callable[[Reader], Iterator[Line]]


@dataclass(frozen=True, slots=True)
class Selection:
    """
    Which records are shown.

    Args:
        since_ms, until_ms: their timestamps, milliseconds; the second is not included.
        key: their key as text.
        where: names of fields, dots between nested ones, and what they are in the clear, as it is printed.
        met: filled with those of the names that a record had, or has room for.
        fields: filled with the fields of the records that were looked at.
    """

    since_ms: int | None
    until_ms: int | None
    key: str | None
    where: tuple[tuple[str, str], ...]
    met: set[str] = field(default_factory=set, init=False)
    fields: dict[str, None] = field(default_factory=dict, init=False)

    @classmethod
    def of(cls, *, from_: str | None, to: str | None, key: str | None, where: Sequence[str]) -> Selection:
        """Read the command's options; raises `ConfigError`."""
        pairs = []
        for each in where:
            name, found, value = each.partition("=")
            if not found or not name:
                raise ConfigError(f"--where-field {each!r} is not name=value")
            pairs.append((name, value))
        since, until = _milliseconds("--from", from_), _milliseconds("--to", to)
        if since is not None and until is not None and since >= until:
            raise ConfigError(f"--from {from_} is not before --to {to}: no record is between them")
        return cls(since, until, key, tuple(pairs))

    def refuse(self, source: str, *, fields: bool = True) -> None:
        """Raise `ConfigError` where a source can't be chosen from as was asked: what would be ignored is refused."""
        given: dict[str, object] = {"--from": self.since_ms, "--to": self.until_ms, "--key": self.key}
        if not fields:
            given["--where-field"] = self.where or None
        ignored = [name for name, value in given.items() if value is not None]
        if ignored:
            raise ConfigError(f"{', '.join(ignored)} can't choose from {source}; records of a --topic can be chosen so")

    def of_batch(self, batch: Batch) -> Batch:
        """Return the records that are shown, as far as that can be told without opening them."""
        since, until = self.since_ms, self.until_ms
        at: Sequence[int] = range(len(batch))
        if self.key is not None:
            wanted, keys = self.key.encode(), batch.keys
            at = [i for i in at if keys[i] == wanted]
        if since is not None or until is not None:
            stamps = batch.stamps
            at = [i for i in at if (since is None or stamps[i][1] >= since) and (until is None or stamps[i][1] < until)]
        return batch if isinstance(at, range) else batch.select(at)

    def chosen(self, lines: Iterable[Line]) -> Iterator[Line]:
        """Yield the lines whose values are wanted; an error is always shown."""
        for line in lines:
            if "error" in line or all(self._is(line.get("value"), name, text) for name, text in self.where):
                yield line

    def refuse_unmet(self) -> None:
        """Raise `ConfigError` where records were read and none has one of the fields: a slip, most likely."""
        unmet = [name for name, _ in self.where if name not in self.met]
        if self.fields and unmet:
            raise ConfigError(
                f"--where-field {', '.join(unmet)}: no record that was read has such a field; they have "
                f"{', '.join(self.fields)}"
            )

    def _is(self, value: object, path: str, text: str) -> bool:
        self.fields.update(dict.fromkeys(value) if isinstance(value, Mapping) else {})
        for name in path.split("."):
            if isinstance(value, Mapping) and name in value:
                value = value[name]
            else:
                if value is None:  # A tombstone, or a record within that is not there this time.
                    self.met.add(path)
                return False
        self.met.add(path)
        return value is not None and text == (
            value if isinstance(value, str) else jsonform.dumps(value).decode().strip('"')
        )


def table_lines(
    table: str | None, query: str | None, dsn: str | None, schema: str, selection: Selection, region: str | None
) -> Lines:
    """Return what yields a table's rows, or those of a query."""
    if dsn is None:
        raise ConfigError("give --dsn, or DATABASE_URL: which database is the table in?")
    known = Table(schema, region)
    connection = dsn

    def lines(encryption: Reader) -> Iterator[Line]:
        number = 0
        with bars(shown=True) as move:
            for batch in rows_of(connection, table=table, query=query):
                found: list[Line] = []
                for value in encryption.decrypt_rows(batch, table=known, errors="return"):
                    found.append(
                        {"row": number, **(failure(value) if isinstance(value, WorkerError) else {"value": value})}
                    )
                    number += 1
                yield from selection.chosen(found)
                move({table or "query": (number, 0)})

    return lines


def container_lines(paths: Sequence[Path], selection: Selection, clear: Collection[str], region: str | None) -> Lines:
    """Return what yields the records of container files."""
    return lambda encryption: selection.chosen(file_lines(paths, encryption, clear, region))


def envelope_lines(field: str | None, schema: str | None, region: str | None) -> Lines:
    """Return what yields the values of envelopes on standard input, one a line: base85, JSON, EQL, base64 or hex."""
    if field is None:
        raise ConfigError("give --field: without it a value moved from another field would open as if it belonged")

    def lines(encryption: Reader) -> Iterator[Line]:
        for number, line in enumerate(output.read_lines()):
            # What is no text is no envelope either, and fails alone.
            text = line.decode(errors="replace").strip()
            if text:
                yield {"line": number, **_opened(encryption, text, field, schema, region)}

    return lines


def _opened(encryption: Reader, text: str, field: str, schema: str | None, region: str | None) -> Line:
    envelope = _envelope(text)
    try:
        if isinstance(encryption, Regions):
            value = encryption.decrypt(envelope, field=field, region=region, schema=schema)
        else:
            value = encryption.decrypt(envelope, field=field, schema=schema)
    except (ConfigError, WorkerError) as exc:
        if isinstance(exc, RecordError) or exc.exit_code == 3:
            return failure(exc)
        raise
    return {"value": value}


def _envelope(text: str) -> bytes | str:
    """Base64 and hex of a binary envelope are told by how these begin; all else is text that the SDK reads."""
    for begins, read in ((("01", "95", "96", "a5", "a6"), bytes.fromhex), (("AQ", "l", "pQ", "pg"), base64.b64decode)):
        if text.startswith(begins):
            try:
                return read(text)
            except ValueError:
                continue
    return text


def schema_text(path: Path | None) -> str:
    """Return a schema file's text; raises `ConfigError`."""
    if path is None:
        raise ConfigError("give --schema with the output schema's file")
    return read_text(path, f"--schema {str(path)!r}")


def _milliseconds(option: str, text: str | None) -> int | None:
    read = moment(option, text)
    return None if read is None else int(read.timestamp() * 1000)
