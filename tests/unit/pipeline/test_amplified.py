"""A small record that would become a large one is refused before it takes a key."""

from __future__ import annotations

import json

import pytest

from tests.unit.encryption.authority import InMemoryAuthority
from tests.unit.pipeline.test_batch import record
from worker.avro import DeclarationOptions, LocalSchema, LocalSchemas, encode_value
from worker.encryption import BatchEncryptor
from worker.metrics import Metrics
from worker.model import batch_of
from worker.pipeline.amplified import Amplification, BatchBounds
from worker.pipeline.batch import BatchProcessor, Steps
from worker.pipeline.fit import Fit
from worker.pipeline.job import Oversized
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


def processor(
    authority: InMemoryAuthority, kind: str, bounds: Amplification, batch: BatchBounds | None = None
) -> BatchProcessor:
    return BatchProcessor(
        LocalSchemas({1: LocalSchema(input=schema(encrypted=True, kind=kind), output_id=1)}),
        SchemaRules(DeclarationOptions(), subject_of("topic", "out")),
        BatchEncryptor(authority),
        Steps(amplification=bounds, bounds=batch),
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
@pytest.mark.parametrize("bounds", [BatchBounds(100, 10**9), BatchBounds(10**9, 25_000)])
def test_a_batch_that_would_become_too_large_is_to_go_in_pieces(kind: str, bounds: BatchBounds) -> None:
    """Values and bytes are bounded; no key is taken before, and each piece is within the bounds or a single record."""
    authority = InMemoryAuthority()
    tried = processor(authority, kind, Amplification(10**6, 10**9), bounds)
    batch = batch_of([record(i, order(n)) for i, n in enumerate([40, 40, 40, 300, 10, 10, 10, 10])])
    with pytest.raises(Oversized) as caught:
        tried.process(batch)
    taken = len(authority.generated)

    done, left = [], Fit().shrink(batch, caught.value.pieces)
    while left:
        piece = left.pop(0)
        try:
            done.append(tried.process(piece))
        except Oversized as exc:
            left = Fit().shrink(piece, exc.pieces) + left

    assert not taken
    assert [offset for out in done for offset in out.output.offsets] == list(range(8))
    assert max(sum(len(value or b"") for value in out.output.values) for out in done if len(out.batch) > 1) <= 25_000


def test_what_was_too_large_is_cut_before_it_is_read() -> None:
    """The batches that follow one that did not fit go in pieces of its size, which grow again."""
    fit, batch = Fit(), batch_of([record(i, None) for i in range(100)])
    assert [len(piece) for piece in fit.cut(batch)] == [100]
    assert [len(piece) for piece in fit.shrink(batch, 7)] == [15] * 6 + [10]

    sizes = [max(len(piece) for piece in fit.cut(batch)) for _ in range(12)]

    assert sizes[0] <= 15
    assert sizes == sorted(sizes)
    assert sizes[-1] == 100
