"""The order of the stages, on real schemas and ciphertexts with keys in memory."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.fakes.records import records_of
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import DeclarationOptions, LocalSchema, LocalSchemas, compile_schema, open_schema
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.metrics import Metrics
from worker.model import Position, SourceRecord, batch_of
from worker.pipeline.batch import BatchProcessor, Steps
from worker.pipeline.options import ResidencyOptions
from worker.pipeline.residency import Residency
from worker.pipeline.schemas import SchemaRules, subject_of
from worker.pipeline.verify import OutputVerifier

SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "Customer",
        "namespace": "acme.crm",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "email", "type": "string", "encrypted": True},
            {"name": "country", "type": "string"},
        ],
    }
)


def datum(number: int, email: bytes = b"ada@example.org", country: bytes = b"DE") -> bytes:
    return bytes([number * 2, len(email) * 2]) + email + bytes([len(country) * 2]) + country


def record(offset: int, value: bytes | None) -> SourceRecord:
    return SourceRecord(Position("in", 0, offset), str(offset).encode(), value, (), 1, 1000)


def framed(offset: int, country: bytes = b"DE") -> SourceRecord:
    return record(offset, b"\0\0\0\0\1" + datum(offset, country=country))


def processor(keys: InMemoryAuthority, residency: Residency | None = None) -> BatchProcessor:
    metrics = Metrics("eu-central-1")
    return BatchProcessor(
        LocalSchemas({1: LocalSchema(input=SCHEMA, output_id=1001)}),
        SchemaRules(DeclarationOptions(), subject_of("topic", "out")),
        BatchEncryptor(keys),
        Steps(
            residency=residency,
            verifier=OutputVerifier(BatchDecryptor(keys), rate=1.0, route="r", metrics=metrics, seed=1),
        ),
        route="r",
        metrics=metrics,
    )


def test_encrypts_what_is_declared_and_restores_it() -> None:
    """The output is framed with the output's id, holds no plaintext, and decrypts to the very input."""
    keys = InMemoryAuthority()

    out = processor(keys).process(batch_of([framed(1), framed(2)]))

    assert out.failures == []
    values = [r.value or b"" for r in records_of(out.output)]
    assert all(v[:5] == b"\0\0\0\3\xe9" and b"ada@" not in v for v in values)
    schema = open_schema(compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema)
    split = schema.split([v[5:] for v in values], [b"1", b"2"])
    opened = BatchDecryptor(keys).decrypt(split.columns)
    assert split.join([[v or b"" for v in c] for c in opened.values]) == [datum(1), datum(2)]


def test_keeps_good_records_among_poison_in_order() -> None:
    """Each kind of poison fails by itself with its code; tombstones and good records arrive in order."""
    poison = {
        2: b"\5\0\0\0\1" + datum(2),
        3: b"\0\0\0\0\7" + datum(3),
        4: b"\0\0\0\0\1" + datum(4) + b"x",
        5: b"\0\0\0\0\1" + datum(5)[:-1],
        6: b"",
        9: b"\0\1",
        10: b"\1" + bytes(15),
    }
    records = [framed(1), *(record(o, v) for o, v in poison.items()), record(7, None), framed(8)]

    out = processor(InMemoryAuthority()).process(batch_of(records))

    assert [r.position.offset for r in records_of(out.output)] == [1, 7, 8]
    assert records_of(out.output)[1].value is None
    codes = {f.record.position.offset: f.error.code for f in out.failures}
    named = {2: "bad_magic", 3: "unknown_schema", 4: "trailing_bytes"}
    assert codes == named | dict.fromkeys((5, 6, 9, 10), "decode_failed")


def test_refuses_another_regions_record_without_a_key() -> None:
    """A record of another region becomes a failure, and no key is spent on its values."""
    keys = InMemoryAuthority()
    options = ResidencyOptions(field="country", values={"DE": "eu-central-1", "AU": "ap-southeast-2"})

    out = processor(keys, Residency(options, "eu-central-1")).process(batch_of([framed(1, b"AU"), framed(2)]))

    assert [f.error.code for f in out.failures] == ["residency"]
    assert [r.position.offset for r in records_of(out.output)] == [2]
    assert len(keys.generated) == 1


def test_tells_the_ledger_what_was_used() -> None:
    """The ledger has a row for the partition with its offsets, values and keys."""
    out = processor(InMemoryAuthority()).process(batch_of([framed(1), framed(2), framed(3)]))

    rows = [(r.topic, r.partition, r.first_offset, r.last_offset, r.values, r.keys, r.schema_id) for r in out.ledger]

    assert rows == [("in", 0, 1, 3, 3, 3, "1001")]


def test_names_subjects_by_strategy() -> None:
    """Topic, record and both."""
    strategies: list[tuple[str, Callable[[str], str]]] = [
        (s, subject_of(s, "out")) for s in ("topic", "record", "topic-record")
    ]

    assert [name("a.B") for _, name in strategies] == ["out-value", "a.B", "out-a.B"]
