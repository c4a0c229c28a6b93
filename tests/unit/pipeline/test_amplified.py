"""A small record that would become a large one is refused before it takes a key."""

from __future__ import annotations

import json

import pytest

from tests.unit.encryption.authority import InMemoryAuthority
from tests.unit.pipeline.test_batch import record
from worker.avro import DeclarationOptions, LocalSchema, LocalSchemas, encode_value
from worker.encryption import BatchEncryptor
from worker.metrics import Metrics
from worker.model import Batch, batch_of, halves
from worker.pipeline.amplified import Amplification, Oversized
from worker.pipeline.batch import BatchProcessor, Steps
from worker.pipeline.schemas import SchemaRules, subject_of

FORMATS = ("record", "leased")


def schema(*, encrypted: bool, kind: str = "record") -> str:
    said = {"encrypted": {"format": kind}} if encrypted else {}
    line = {"type": "record", "name": "Line", "fields": [{"name": "x", "type": "string", **said}]}
    lines = {"name": "lines", "type": {"type": "array", "items": line}}
    return json.dumps({"type": "record", "name": "n.Order", "fields": [lines]})


def order(values: int, text: str = "a") -> bytes:
    datum = encode_value(schema(encrypted=False), {"lines": [{"x": text}] * values})
    return b"\0\0\0\0\1" + datum


def processor(authority: InMemoryAuthority, kind: str, bounds: Amplification) -> BatchProcessor:
    return BatchProcessor(
        LocalSchemas({1: LocalSchema(input=schema(encrypted=True, kind=kind), output_id=1)}),
        SchemaRules(DeclarationOptions(), subject_of("topic", "out")),
        BatchEncryptor(authority),
        Steps(amplification=bounds),
        route="r",
        metrics=Metrics("eu-central-1"),
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_record_of_too_many_values_takes_no_key(kind: str) -> None:
    """Among records of a usual size it alone is a dead letter, and keys are asked for the others alone."""
    authority = InMemoryAuthority()
    sizes = [3, 11, 10, 1, 2_000, 0]
    batch = batch_of([record(i, order(n)) for i, n in enumerate(sizes)])

    out = processor(authority, kind, Amplification(10, 1_000_000)).process(batch)

    assert [(f.record.position.offset, f.error.code) for f in out.failures] == [(1, "too_large"), (4, "too_large")]
    assert len(authority.generated) <= (14 if kind == "record" else 1)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_record_that_would_have_too_many_bytes_takes_no_key(kind: str) -> None:
    """Its envelopes count, and so does its own length."""
    authority = InMemoryAuthority()
    batch = batch_of([record(0, order(200)), record(1, order(1, "b" * 20_000)), record(2, order(1))])

    out = processor(authority, kind, Amplification(1_000, 20_000)).process(batch)

    assert [f.record.position.offset for f in out.failures] == [0, 1]
    assert len(authority.generated) == 1


def test_the_estimate_is_from_above() -> None:
    """What was let through never turns out larger than it was taken for."""
    for kind in FORMATS:
        for count, text in ((1, ""), (50, "a"), (3, "x" * 1_000)):
            batch = batch_of([record(0, order(count, text))])
            out = processor(InMemoryAuthority(), kind, Amplification(10**6, 10**9)).process(batch)
            size = len(out.output.values[0] or b"")
            tight = processor(InMemoryAuthority(), kind, Amplification(10**6, size - 1))
            assert tight.process(batch).failures, (kind, count, size)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_batch_that_would_become_too_much_is_taken_in_parts(kind: str) -> None:
    """Records that are each within their bounds: no key is taken for all of them at once, one alone always passes."""
    authority, bounds = InMemoryAuthority(), Amplification(1_000, 100_000)
    whole = batch_of([record(i, order(400)) for i in range(16)])

    with pytest.raises(Oversized):
        processor(authority, kind, bounds).process(whole)

    assert not authority.generated
    pieces: list[Batch] = [whole]
    sizes: list[int] = []
    while pieces:
        piece = pieces.pop()
        try:
            sizes.append(len(processor(authority, kind, bounds).process(piece).output.values))
        except Oversized:
            pieces += halves(piece)
    assert sum(sizes) == 16
    assert max(sizes) < 16
    processor(authority, kind, Amplification(1_000, 70_000)).process(batch_of([record(0, order(400))]))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_batch_of_too_many_values_is_not_even_taken_apart(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nulls take no key and no bytes, and still memory."""
    monkeypatch.setattr("worker.pipeline.amplified._BATCH_VALUES", 50)
    authority = InMemoryAuthority()

    with pytest.raises(Oversized):
        processor(authority, kind, Amplification(40, 10**9)).process(batch_of([record(i, order(20)) for i in range(3)]))

    assert not authority.generated
