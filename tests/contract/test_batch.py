"""Every form of a batch behaves alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.batches import FORMS, Build
from worker.avro.frame import VALUE_HEADER
from worker.model import (
    Batch,
    Header,
    Part,
    Position,
    SourceRecord,
    TopicPartition,
    first_offsets,
    halves,
    next_offsets,
    since,
    within,
    without,
)
from worker.model.rows import ColumnType, Row, RowType

A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)
forms = pytest.mark.parametrize("build", FORMS.values(), ids=FORMS.keys())


def rec(
    place: TopicPartition,
    offset: int,
    value: bytes | None = b"v",
    key: bytes | None = b"k",
    headers: Sequence[Header] = (),
    stamp: tuple[int, int] = (1, 1000),
) -> SourceRecord:
    return SourceRecord(Position(*place, offset), key, value, headers, *stamp)


def objects(batch: Batch) -> list[SourceRecord]:
    return [plain(batch.record(i)) for i in range(len(batch))]


def plain(record: SourceRecord) -> SourceRecord:
    return replace(record, headers=tuple(record.headers))


places = st.sampled_from([A0, A1, B0])
contents = st.none() | st.binary(max_size=30) | st.sampled_from([b"\0\0\0\0\7xx", b"\1" + bytes(16) + b"x", b"\0\1"])
names = st.sampled_from([VALUE_HEADER, "trace"])
header_lists = st.lists(st.tuples(names, st.none() | st.binary(max_size=6)), max_size=2)
stamps = st.tuples(st.integers(0, 2), st.integers(-1, 10**13))
records = st.builds(rec, places, st.integers(0, 50), contents, contents, header_lists, stamps)
many = st.lists(records, max_size=12)
few = settings(max_examples=30)


ROWS = RowType((ColumnType("v", "bytes"),))


def row(value: object) -> Row:
    return Row(ROWS, (value,))


@forms
@few
@given(given_records=many)
def test_gives_each_record_back(build: Build, given_records: list[SourceRecord]) -> None:
    """What went in comes out, record by record and column by column."""
    batch = build(given_records)

    headers = batch.headers if batch.headers is not None else [()] * len(batch)
    assert [(r.position, r.key, r.value, list(r.headers)) for r in objects(batch)] == [
        (r.position, r.key, r.value, list(r.headers)) for r in given_records
    ]
    assert list(batch.keys) == [r.key for r in given_records]
    assert list(batch.values) == [r.value for r in given_records]
    assert list(batch.offsets) == [r.position.offset for r in given_records]
    assert [tuple(s) for s in batch.stamps] == [(r.timestamp_type, r.timestamp_ms) for r in given_records]
    assert [list(h) for h in headers] == [list(r.headers) for r in given_records]


@forms
@few
@given(given_records=many)
def test_runs_cover_it_once_with_ascending_offsets(build: Build, given_records: list[SourceRecord]) -> None:
    """Runs follow each other, hold one partition each, ascend, and no two neighbours could be one."""
    batch = build(given_records)

    at = 0
    for run in batch.runs:
        assert (run.start, run.stop) == (at, max(run.stop, at + 1))
        inside = [r.position for r in given_records[run.start : run.stop]]
        assert {TopicPartition(p.topic, p.partition) for p in inside} == {run.place}
        assert [p.offset for p in inside] == sorted({p.offset for p in inside})
        at = run.stop
    assert at == len(given_records)
    for one, other in zip(batch.runs, batch.runs[1:], strict=False):
        assert one.place != other.place or batch.offsets[one.stop - 1] >= batch.offsets[other.start]


@forms
@few
@given(given_records=many)
def test_size_and_age_are_those_of_the_content(build: Build, given_records: list[SourceRecord]) -> None:
    """Size counts keys, values, header names and header values; an unset time is no age."""
    batch = build(given_records)

    size = sum(len(r.key or b"") + len(r.value or b"") for r in given_records)
    size += sum(len(name) + len(value or b"") for r in given_records for name, value in r.headers)
    assert batch.size == size
    for run in batch.runs:
        inside = given_records[run.start : run.stop]
        assert batch.content_bytes(run) == sum(len(r.key or b"") + len(r.value or b"") for r in inside)


@forms
@few
@given(given_records=many)
def test_ages_are_counted_by_bucket(build: Build, given_records: list[SourceRecord]) -> None:
    """Each record with a timestamp lies in one bucket; one from the future is of no age."""
    batch, now_ms, bounds = build(given_records), 5 * 10**12, [0.0, 10**9, 3.0 * 10**9, float("inf")]

    counts, total = batch.ages(now_ms, bounds)

    ages = [max(0, now_ms - r.timestamp_ms) / 1000 for r in given_records if r.timestamp_ms > 0]
    at_most = [sum(age <= bound for age in ages) for bound in bounds]
    assert [sum(counts[: n + 1]) for n in range(len(bounds))] == at_most
    assert total == pytest.approx(sum(ages))


@forms
@few
@given(given_records=many, data=st.data())
def test_select_and_concat_keep_records(build: Build, given_records: list[SourceRecord], data: st.DataObject) -> None:
    """Any selection, and two halves put together, equal the same done to a list; the batch itself stays as it was."""
    batch = build(given_records)
    everything = range(len(given_records))
    chosen = sorted(data.draw(st.sets(st.sampled_from(everything)))) if given_records else []
    cut = data.draw(st.integers(0, len(given_records)))

    assert objects(batch.select(chosen)) == objects(build([given_records[i] for i in chosen]))
    assert batch.select(chosen).runs == build([given_records[i] for i in chosen]).runs
    head, tail = batch.select(range(cut)), batch.select(range(cut, len(batch)))
    assert objects(head.concat([tail])) == objects(batch) == objects(build(given_records))
    assert list(head.concat([tail]).runs) == list(batch.runs)
    assert objects(batch.concat([head, tail])) == objects(batch) * 2


@forms
@few
@given(given_records=many, offset=st.integers(0, 51))
def test_find_gives_the_first_at_or_after_an_offset(
    build: Build, given_records: list[SourceRecord], offset: int
) -> None:
    """`find` parts a run in what lies before an offset and what does not."""
    batch = build(given_records)

    for run in batch.runs:
        at = batch.find(run, offset)
        assert run.start <= at <= run.stop
        assert all(o < offset for o in batch.offsets[run.start : at])
        assert all(o >= offset for o in batch.offsets[at : run.stop])


@forms
@few
@given(given_records=many)
def test_frames_part_all_records(build: Build, given_records: list[SourceRecord]) -> None:
    """Each record is in exactly one place, and a group's frame is what its values begin with."""
    batch = build(given_records)

    frames = batch.frames("value", VALUE_HEADER)

    placed = [*frames.named, *frames.bare, *frames.absent, *(i for at in frames.groups.values() for i in at)]
    assert sorted(placed) == list(range(len(given_records)))
    assert all(list(at) == sorted(at) for at in (frames.named, frames.bare, frames.absent, *frames.groups.values()))
    for frame, at in frames.groups.items():
        assert len(frame) == (5 if frame[:1] == b"\0" else 17)
        assert all((given_records[i].value or b"").startswith(frame) for i in at)
    for i in frames.named:
        assert any(name == VALUE_HEADER for name, _ in given_records[i].headers)
    for i in frames.bare:
        value = given_records[i].value
        assert value is not None
        assert not (value[:1] == b"\0" and len(value) >= 5)
        assert not (value[:1] == b"\1" and len(value) >= 17)
    assert all(given_records[i].value is None for i in frames.absent)


@forms
def test_frames_of_one_schema_are_one_group(build: Build) -> None:
    """The usual batch is one group, of keys as of values."""
    batch = build([rec(A0, n, b"\0\0\0\0\7" + bytes(n), b"\0\0\0\0\2k") for n in range(5)])

    assert {f: list(at) for f, at in batch.frames("value", "h").groups.items()} == {b"\0\0\0\0\7": [0, 1, 2, 3, 4]}
    assert {f: list(at) for f, at in batch.frames("key", "h").groups.items()} == {b"\0\0\0\0\2": [0, 1, 2, 3, 4]}


@forms
def test_positions_come_out_of_runs(build: Build) -> None:
    """First and next offsets are told for each partition, over all its runs."""
    batch = build([rec(A0, 3), rec(A0, 5), rec(B0, 9), rec(A0, 6), rec(A1, 1)])

    assert first_offsets(batch) == {A0: 3, B0: 9, A1: 1}
    assert next_offsets(batch) == {A0: 7, B0: 10, A1: 2}


@forms
def test_partitions_and_what_is_durable_can_be_left_out(build: Build) -> None:
    """A batch without some partitions, since some positions, and in halves."""
    batch = build([rec(A0, 3), rec(A0, 5), rec(B0, 9), rec(A0, 6), rec(A1, 1)])

    assert [r.position for r in objects(without(batch, {A0}))] == [Position("b", 0, 9), Position("a", 1, 1)]
    assert [r.position.offset for r in objects(since(batch, {A0: 5, B0: 0}))] == [5, 9, 6]
    assert [[r.position.offset for r in objects(half)] for half in halves(batch)] == [[3, 5], [9, 6, 1]]
    assert within(batch, [(0, 2), (2, 5)]) is batch


@forms
def test_output_of_one_part_is_that_part(build: Build) -> None:
    """One schema, nothing left out: values and positions in order, keys as they were."""
    batch = build([rec(A0, n, b"\0\0\0\0\7x", b"k%d" % n, [("h", b"1")]) for n in range(3)])
    part = Part(range(3), [b"0", b"1", b"2"], "9", {1: "elsewhere"}, lambda values: [row(v) for v in values])

    output = batch.output([part], range(3))

    assert len(output) == 3
    assert list(output.values) == [b"0", b"1", b"2"]
    assert list(output.keys) == [b"k0", b"k1", b"k2"]
    assert list(output.offsets) == [0, 1, 2]
    assert list(output.runs) == list(batch.runs)
    assert list(output.schema_ids) == ["9"] * 3
    assert dict(output.topics) == {1: "elsewhere"}
    assert list(output.rows) == [row(b"0"), row(b"1"), row(b"2")]
    assert output.record(1).topic == "elsewhere"
    assert output.record(2).row == row(b"2")
    assert list(output.record(0).headers) == [("h", b"1")]


@forms
def test_output_of_several_parts_keeps_the_sources_order(build: Build) -> None:
    """Parts of several schemas, a tombstone and a record that is left out."""
    batch = build([rec(A0, 0), rec(A0, 1), rec(B0, 7, None), rec(B0, 8), rec(A0, 2)])
    first = Part([0, 3], [b"x0", None], "1", {}, lambda values: [row(v) for v in values])
    second = Part([1, 4], [b"y1", b"y4"], "2", {1: "far"})
    third = Part([2], [None])

    output = batch.output(
        [first, second, third], [0, 1, 2, 4], keys=[b"A", b"B", b"C", b"D", b"E"], key_rows={4: row(4), 3: row(3)}
    )

    assert list(output.values) == [b"x0", b"y1", None, b"y4"]
    assert list(output.keys) == [b"A", b"B", b"C", b"E"]
    assert list(output.offsets) == [0, 1, 7, 2]
    assert [(r.place, r.start, r.stop) for r in output.runs] == [(A0, 0, 2), (B0, 2, 3), (A0, 3, 4)]
    assert list(output.schema_ids) == ["1", "2", "", "2"]
    assert dict(output.topics) == {3: "far"}
    assert dict(output.key_rows) == {3: row(4)}
    assert list(output.rows) == [row(b"x0"), None, None, None]
    assert [output.record(i).position for i in range(4)] == [
        Position("a", 0, 0), Position("a", 0, 1), Position("b", 0, 7), Position("a", 0, 2)
    ]  # fmt: skip
    assert output.record(0).row == row(b"x0")


@forms
def test_output_of_nothing_is_empty(build: Build) -> None:
    """A batch whose every record failed has an output without records."""
    output = build([rec(A0, 0)]).output([], [])

    assert len(output) == 0
    assert [*output.values, *output.rows, *output.runs, *output.schema_ids] == []


@forms
def test_no_repr_shows_content(build: Build) -> None:
    """Neither keys, values nor headers are in a repr."""
    batch = build([rec(A0, 0, b"secret-value", b"secret-key", [("h", b"secret-header")])])
    output = batch.output([Part([0], [b"secret-out"])], range(1))

    assert "secret" not in repr(batch) + repr(output) + repr(Part([0], [b"secret-out"]))
