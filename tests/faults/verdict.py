"""Reads back all that a run wrote, once it has ended, and judges it."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import psycopg
from prometheus_client.parser import text_string_to_metric_families
from psycopg import sql

from tests.faults.checker import findings, forked, latest
from tests.faults.records import PARTITIONS, SCHEMA, Input, front
from tests.faults.stand import REGION, Place, Stand
from tests.faults.watch import fold
from tests.leaks import scan
from worker.avro import DeclarationOptions, compile_schema
from worker.errors import FatalError
from worker.kafka.whole import read_batches
from worker.model import SourceRecord, records_of
from worker.sdk import Encryption
from worker.sink.ledger import verify
from worker.sink.postgres.retention import verify_table

_LEDGER = f"worker.ledger.{REGION}"


@dataclass(slots=True)
class Verdict:
    """Counts of one topology, and what is wrong; nothing is where `findings` is empty."""

    records: int = 0
    in_sink: int = 0
    duplicates: int = 0
    dead: int = 0
    dead_duplicates: int = 0
    decrypted: int = 0
    scanned_bytes: int = 0
    keys: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)


class Judge:
    """
    Judges one topology's run.

    Args:
        stand, place: where everything lies.
        given: what was produced.
        written: what else the run wrote, by name: logs, metrics.
        sample: how many records are decrypted.
    """

    def __init__(self, stand: Stand, place: Place, given: Input, written: dict[str, bytes], *, sample: int) -> None:
        self._stand, self._place, self._given, self._sample = stand, place, given, sample
        self._places = dict(written)
        self._datums: list[tuple[int, bytes]] = []
        self._verdict = Verdict(records=given.produced)

    def judge(self) -> Verdict:
        """Read and compare everything."""
        verdict = self._verdict
        if self._given.lost or self._given.produced != len(self._given.lane):
            verdict.findings.append("the harness itself lost records on their way to the source")
        if self._place.topology.sink == "kafka":
            self._topic()
        elif self._place.topology.sink == "append":
            self._table()
        else:
            self._keyed_table()
        self._dead()
        self._books(self._ledger())
        self._leaks()
        self._decrypt()
        return verdict

    def _read(self, topic: str) -> list[SourceRecord]:
        kafka = self._stand.kafka
        records = list(chain.from_iterable(map(records_of, read_batches(topic, kafka.client))))
        self._places[f"topic {topic}"] = b"\0".join(
            part for r in records for part in (r.key, r.value, *(v for _, v in r.headers)) if part
        )
        return records

    def _topic(self) -> None:
        found = []
        for record in self._read(self._place.target):
            lane, i = front(record.value or b"")
            found.append((int(record.key or b"-1"), i))
            if lane != (record.key or b"").decode():
                self._verdict.findings.append(f"record {i} came out under another key")
            self._datums.append((i, (record.value or b"")[5:]))
        self._compare(found)

    def _compare(self, found: list[tuple[int, int]]) -> None:
        verdict = self._verdict
        verdict.in_sink = len(found)
        verdict.duplicates = len(found) - len({i for _, i in found})
        exact = self._place.topology.is_exact
        verdict.findings += findings(self._given.of("good"), found, exactly_once=exact)

    def _table(self) -> None:
        rows = self._rows("SELECT * FROM {} ORDER BY _partition, _offset")
        self._compare([(int(row["lane"]), row["id"]) for row in rows])
        for row in rows:
            if self._given.at(row["_partition"], row["_offset"]) != row["id"]:
                self._verdict.findings.append(f"row {row['id']} stands at another record's coordinates")

    def _keyed_table(self) -> None:
        rows = self._rows("SELECT * FROM {}")
        expected: dict[int, int] = {}
        for p in range(PARTITIONS):
            fold(self._given, self._given.upto(p, 1 << 62), expected)
        self._verdict.in_sink = len(rows)
        self._verdict.findings += latest(expected, [(int(row["lane"]), row["id"]) for row in rows])

    def _rows(self, query: str) -> list[dict[str, Any]]:
        with psycopg.connect(self._stand.dsn, row_factory=psycopg.rows.dict_row) as connection:
            rows = connection.execute(sql.SQL(query).format(sql.Identifier(self._place.target))).fetchall()
        cells = (v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row.values())
        self._places[f"table {self._place.target}"] = b"\0".join(cells)
        self._datums = [(row["id"], _datum(row)) for row in rows]
        return rows

    def _dead(self) -> None:
        letters = []
        for record in self._read(self._place.dead):
            _, partition, offset = (record.key or b"").decode().rsplit("/", 2)
            i = self._given.at(int(partition), int(offset))
            letters.append(-1 if i is None else i)
        self._verdict.dead = len(letters)
        self._verdict.dead_duplicates = len(letters) - len(set(letters))
        exact = self._place.topology.sink == "kafka" and self._place.topology.is_exact
        wrong = findings(self._given.of("poison"), [(i, i) for i in letters], exactly_once=exact)
        self._verdict.findings += [f"dead letters: {each}" for each in wrong]

    def _ledger(self) -> list[dict[str, Any]]:
        """Return the ledger's entries of this run, each chain verified where every entry is there once."""
        rows = self._ledger_topic() if self._place.topology.sink == "kafka" else self._ledger_table()
        entries = {(row["chain"], row["sequence"], row["hash"]) for row in rows}
        self._verdict.findings += forked((chain, at) for chain, at, _ in entries)
        return rows

    def _ledger_topic(self) -> list[dict[str, Any]]:
        every = [(json.loads(r.value or b""), r.value or b"") for r in self._read(_LEDGER)]
        mine = [each for each in every if each[0]["topic"] == self._place.source]
        if self._place.topology.is_exact:
            mine.sort(key=lambda each: (each[0]["chain"], each[0]["sequence"]))
            for _, chain in groupby(mine, key=lambda each: each[0]["chain"]):
                try:
                    verify(document for _, document in chain)
                except FatalError as exc:
                    self._verdict.findings.append(str(exc))
        return [row for row, _ in mine]

    def _ledger_table(self) -> list[dict[str, Any]]:
        try:
            for _ in verify_table(self._stand.dsn, _no_key, timeout_s=30):
                pass
        except FatalError as exc:
            self._verdict.findings.append(str(exc))
        with psycopg.connect(self._stand.dsn) as connection:
            query = "SELECT to_jsonb(l) FROM worker.ledger l WHERE topic = %s"
            return [row for (row,) in connection.execute(query, [self._place.source])]

    def _books(self, rows: list[dict[str, Any]]) -> None:
        """Compare the ledger with the sink, with the authority's audit and with what each worker says of its keys."""
        verdict = self._verdict
        values = Counter[str]()
        for row in rows:
            values[row["format"]] += row["values"]
        good = self._given.of("good")
        # A null stays a null and is no value. At least once, each further copy has its own entry.
        expected = {"record": len(good), "leased": sum(self._given.has_name(i) for i in good)}
        if any(values[f] < n or (self._place.topology.is_exact and values[f] != n) for f, n in expected.items()):
            verdict.findings.append(f"the ledger counts {dict(values)} values, the sink should hold {expected}")
        verdict.keys = {"used": sum(row["keys"] for row in rows if row["format"] == "record")}
        for name, text in self._places.items():
            if name.startswith("metrics of"):
                verdict.findings += overspent(name, text.decode())
        if self._stand.keys is not None:
            self._audit(self._stand.keys.audit_path, {r for row in rows for r in row["request_ids"]})

    def _audit(self, path: Path, requests: set[str]) -> None:
        """Every request of the ledger is one that the authority answered; what was not used is wasted or was held."""
        generated = Counter[str]()
        for line in path.read_text().splitlines():
            event = json.loads(line)
            context = event.get("unverified_context", {})
            if event["operation"] == "generate" and context.get("route") == self._place.topology.name:
                generated[context["request_id"]] += event["count"] if event["outcome"] == "allowed" else 0
        verdict, total, used = self._verdict, generated.total(), self._verdict.keys["used"]
        verdict.keys |= {"generated": total, "wasted_or_held": total - used}
        if unknown := requests - generated.keys():
            verdict.findings.append(f"{len(unknown)} of the ledger's requests are unknown to the authority's audit")
        if used > total:
            verdict.findings.append(f"{used} keys used, {total} generated")

    def _leaks(self) -> None:
        source = self._read(self._place.source)
        control = {"source": self._places.pop(f"topic {self._place.source}")}
        assert source
        assert scan([self._given.mark], control), "the scanner does not find the mark where it must be"
        self._verdict.scanned_bytes = sum(map(len, self._places.values()))
        leaked = scan([self._given.mark], self._places)
        self._verdict.findings += [f"in the clear: {leak.place}, {leak.form}" for leak in leaked]

    def _decrypt(self) -> None:
        """Open records spread over the whole run, and compare each with what was produced."""
        step = max(1, len(self._datums) // self._sample)
        chosen = self._datums[::step]
        schema = compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema
        with Encryption.from_env(environ=self._stand.authority) as encryption:
            opened = encryption.decrypt_records([datum for _, datum in chosen], schema=schema, errors="return")
        for (i, _), record in zip(chosen, opened, strict=True):
            if record != self._given.plain(i):
                self._verdict.findings.append(f"record {i} does not decrypt to what was produced")
                break
        self._verdict.decrypted = len(chosen)


def _no_key(_keyset: UUID) -> bytes:
    raise AssertionError("nobody signed a checkpoint in this run")


def overspent(name: str, metrics: str) -> list[str]:
    """Find a worker that counts more keys as used, wasted and expired than it was given."""
    keys = {
        sample.labels["event"]: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "worker_keys_total"
    }
    spent = sum(keys.get(event, 0) for event in ("used", "wasted", "expired"))
    return [f"{name}: {keys}"] if spent > keys.get("generated", 0) else []


def _datum(row: dict[str, Any]) -> bytes:
    """Write a table's row as the datum that its record was."""
    out = io.BytesIO()
    fields = [
        {"name": "id", "type": "long"},
        {"name": "lane", "type": "string"},
        {"name": "email", "type": "bytes"},
        {"name": "name", "type": ["null", "bytes"]},
    ]
    fastavro.schemaless_writer(out, {"type": "record", "name": "Row", "fields": fields}, row)
    return out.getvalue()
