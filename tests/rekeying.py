"""Tables that are encrypted under one keyset, to be taken to another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from worker.authority.dev import DevAuthority
from worker.avro import CompiledSchema, DeclarationOptions, compile_schema, encode_value
from worker.encryption import BatchEncryptor
from worker.model import Audit, PlainBatch, Position, Run
from worker.pipeline.search import SearchTerms
from worker.rekey.keys import KeyHolder, Way
from worker.sink.postgres.copy import RowWriter
from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.schema import fields_of, targets_of
from worker.sink.postgres.table import read_table
from worker.zerokms.factory import client_from_environment

OLD, NEW = "rekey-old", "rekey-new"
REGION = "eu-central-1"


@contextmanager
def authority_of_keysets(directory: Path) -> Iterator[DevAuthority]:
    """Run an authority whose first client may use an old and a new keyset."""
    with DevAuthority(REGION, directory) as running:
        for name in (OLD, NEW):
            running.create_keyset(name)
            running.grant(running.env["CS_CLIENT_ID"], name)
        yield running


_STREET = {
    "type": "record",
    "name": "Street",
    "fields": [{"name": "line", "type": "string", "encrypted": {"format": "leased"}}],
}
PERSON: dict[str, Any] = {
    "type": "record",
    "name": "acme.crm.Person",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "tenant", "type": "string"},
        {"name": "email", "type": "string", "encrypted": {"format": "leased", "context": ["tenant"]}},
        {
            "name": "note",
            "type": ["null", "string"],
            "default": None,
            "encrypted": {"format": "leased", "bind": ["id"]},
        },
        {"name": "phone", "type": ["null", "string"], "default": None, "encrypted": {"index": ["unique"]}},
        {"name": "streets", "type": {"type": "array", "items": _STREET}},
    ],
}
"""Values with a context, bound to another column, searchable, and within a `jsonb` column."""
TABLE = """
CREATE TABLE people (id bigint PRIMARY KEY, tenant text NOT NULL, email bytea NOT NULL, note bytea, phone jsonb,
  streets jsonb NOT NULL, touched int NOT NULL DEFAULT 0)
"""


def person(n: int) -> dict[str, object]:
    """Return the person of a number."""
    return {
        "id": n,
        "tenant": f"tenant-{n % 3}",
        "email": f"person-{n}@example.org",
        "note": None if n % 4 == 3 else f"note of {n}",
        "phone": None if n % 5 == 4 else f"+49 30 {n}",
        "streets": [{"line": f"street {n}-{i}"} for i in range(n % 3)],
    }


def declared(schema: Mapping[str, Any], keyset: str) -> CompiledSchema:
    """Compile a schema whose fields name no keyset under one."""
    return compile_schema(json.dumps(schema), DeclarationOptions(keyset=keyset))


@contextmanager
def holder(env: Mapping[str, str], reason: str = "a test") -> Iterator[KeyHolder]:
    """Give one client's keys."""
    with (
        client_from_environment(env, allow_hosts=("127.0.0.1", "localhost")) as client,
        KeyHolder(client, lambda purpose: Audit("test", "rekey", purpose, reason)) as made,
    ):
        yield made


@contextmanager
def way(env: Mapping[str, str]) -> Iterator[Way]:
    """Give the way from one keyset to another of one client."""
    with holder(env) as own:
        yield Way(own, own)


def sealed(
    compiled: CompiledSchema,
    records: Sequence[Mapping[str, object]],
    encryptor: BatchEncryptor,
    terms: SearchTerms | None = None,
) -> list[Any]:
    """Return records as rows of a table, sealed."""
    plain = json.dumps(clear(json.loads(compiled.plan.input_schema)))
    datums = [encode_value(plain, record) for record in records]
    n = len(datums)
    batch = PlainBatch([Run("", 0, 0, n)], range(n), [None] * n, datums, [(0, 0)] * n)
    split = compiled.split_batch(batch, [None] * n, 0)
    assert not split.errors
    (done,) = encryptor.seal([(split, b"")])
    found = {} if terms is None else terms.of(split.columns, done.envelopes)
    return compiled.rows([data or b"" for data in done.data], terms=found)


def fill(
    dsn: str,
    table: str,
    compiled: CompiledSchema,
    records: Iterable[Mapping[str, object]],
    own: KeyHolder,
    columns: Mapping[str, str] | None = None,
) -> None:
    """Copy sealed records into a table as the worker's sink does."""
    options = PostgresSinkOptions.model_validate({"table": table, "columns": dict(columns or {})})
    terms = SearchTerms(own.index_key, default_keyset=None, columns=options.searchable)
    rows = sealed(compiled, list(records), own.encryptor(), terms)
    with psycopg.connect(dsn) as connection:
        found = read_table(connection, table)
        assert found is not None
        writer = RowWriter(found, targets_of(found, fields_of(compiled.row_type, options), options))
        at = [Position(table, 0, i) for i in range(len(rows))]
        writer.copy(connection, found.identifier, (row.values for row in rows), at)


def clear(node: Any) -> Any:
    """Return a schema's JSON without declarations, as encoders of plain values take it."""
    if isinstance(node, list):
        return [clear(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {name: clear(value) for name, value in node.items() if name != "encrypted"}
