"""Columns opened in Arrow's own memory, and those that are read value by value; needs the extra `tables`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from worker.avro import slot_of
from worker.avro.arrow import Layout, arrow_array, arrow_layout, arrow_type, arrow_values, no_room
from worker.avro.schema import parse
from worker.encryption.unspans import fault_of, sources_of
from worker.errors import ConfigError, RecordError, WorkerError
from worker.model import DataKey, FieldPlan, KeyRefused
from worker.native import IS_LOADED, extension
from worker.native.requests import NativeRequests

if TYPE_CHECKING:
    from worker import _native

_CHUNK_BYTES = 1 << 31
"""Larger chunks would not fit the 32 bits of a text's offsets."""


@dataclass(frozen=True, slots=True)
class Opened:
    """
    A column in the clear.

    Args:
        faults: by row, why it has no value; these are null.
        array: makes the column.
    """

    faults: Mapping[int, WorkerError]
    array: Callable[[], Any] = field(repr=False)


def refuse_unheld(plans: Mapping[str, FieldPlan]) -> None:
    """Raise `ConfigError` for a column whose values no Arrow type holds as they are."""
    for name, plan in plans.items():
        try:
            arrow_type(parse(plan.schema))
        except ConfigError as exc:
            raise ConfigError(f"column {name} ({plan.identity}): {exc}") from None


def values_of(column: Any, name: str, plan: FieldPlan) -> list[object]:
    """Return a column's values in the clear as the field's type wants them; raises `RecordError`, with the row."""
    try:
        return arrow_values(plan.schema, column)
    except RecordError as exc:
        raise RecordError(f"column {name}, {exc}", path=name) from None


def of_values(plan: FieldPlan, values: list[Any]) -> Opened:
    """Return Python's values, and errors among them, as a column."""
    faults: dict[int, WorkerError] = {}
    # A look at the types alone, which of a million values takes milliseconds.
    if any(issubclass(kind, WorkerError) for kind in set(map(type, values))):
        faults = {i: value for i, value in enumerate(values) if isinstance(value, WorkerError)}
        values = [None if i in faults else value for i, value in enumerate(values)]
    try:
        made = arrow_array(plan.schema, values)
    except RecordError:
        faults |= (beyond := no_room(plan.schema, values))
        made = arrow_array(plan.schema, [None if i in beyond else value for i, value in enumerate(values)])
    return Opened(faults, lambda: made)


@dataclass(frozen=True, slots=True)
class Held:
    """
    A column of envelopes in Arrow's memory, each plainly one of its field.

    Args:
        native: the column.
        requests: for its keys.
        plan: of its field.
        layout: of its values.
        counts: how many each chunk has.
    """

    native: _native.EnvelopeArrays
    requests: NativeRequests
    plan: FieldPlan
    layout: Layout
    counts: Sequence[int]

    def open(self, answers: Sequence[DataKey | KeyRefused]) -> Opened | None:
        """Open it; None where a value is to be looked at one by one."""
        type_, word, null_branch, least, most = self.layout
        sources, kind = sources_of(self.requests, answers), (word, null_branch, least, most)
        made = self.native.open(sources, slot_of(self.plan), kind)
        if made is None:
            return None
        chunks, told = made
        faults: dict[int, WorkerError] = {}
        for row, why, number in told:
            is_single = self.requests.fingerprint(number) is None
            faults[row] = fault_of(why, "record" if is_single else "leased", answers, number)
        return Opened(faults, lambda: pa.chunked_array(map(partial(_array, type_), self.counts, chunks), type_))


def hold(column: Any, plan: FieldPlan) -> Held | None:
    """Take a column as it lies in Arrow's memory; None where that does not go."""
    layout = arrow_layout(plan.schema) if IS_LOADED else None
    if layout is None or column.type not in (pa.binary(), pa.large_binary()):
        return None
    chunks = [chunk for chunk in column.chunks if len(chunk)]
    if any(chunk.nbytes >= _CHUNK_BYTES for chunk in chunks):
        return None
    is_large = column.type == pa.large_binary()
    given = [(*chunk.buffers(), chunk.offset, len(chunk), is_large) for chunk in chunks]
    native = extension.EnvelopeArrays.read(given, plan.descriptor, plan.fingerprint)
    if native is None:
        return None
    return Held(native, NativeRequests(native.requests, [[()]]), plan, layout, [len(chunk) for chunk in chunks])


def _array(type_: Any, count: int, chunk: tuple[bytes, bytes, bytes, int]) -> Any:
    validity, offsets, values, nulls = chunk
    given = [validity if nulls else None, *([offsets] if offsets else []), values]
    return pa.Array.from_buffers(type_, count, [None if each is None else pa.py_buffer(each) for each in given], nulls)
