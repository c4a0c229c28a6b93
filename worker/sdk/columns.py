"""Columns of pyarrow tables and pandas frames; needs the extra `tables`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from worker.avro import decode_value, encode_value, open_schema
from worker.avro.descriptors import default_descriptor
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.encryption.refusal import not_an_envelope
from worker.encryption.values import text_of_value
from worker.errors import ConfigError, RecordError, WorkerError, with_extra
from worker.model import FieldPlan, Format, ValueColumn
from worker.sdk import checked
from worker.sdk import records as whole
from worker.sdk.keyring import KeyCall
from worker.sdk.options import Opening
from worker.sdk.prepared import opening
from worker.sdk.values import plan as plan_of

try:
    import pyarrow as pa

    from worker.avro.arrow import arrow_array
except ImportError as exc:
    raise ConfigError(f"tables need the extra 'tables' (pyarrow): {with_extra('tables')}") from exc

Frame = TypeVar("Frame")
"""A `pyarrow.Table`, a `pyarrow.RecordBatch`, or a `pandas.DataFrame`."""
_LEASED, _RECORD = b"\x01", (b"\x95", b"\x96")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """
    What an encrypted column holds, where no schema says it.

    Args:
        field: the descriptor, as `acme.crm.Customer/email`.
        type: the field's Avro type as JSON.
        context: columns bound into the keys, in order.
        format: for sealing: `leased` (one key for the column and context) or `record` (one a value).
        keyset: for sealing: name or uuid; None is the client's default.
    """

    field: str
    type: str = '"string"'
    context: Sequence[str] = ()
    format: Format = "leased"
    keyset: str | None = None

    def __post_init__(self) -> None:
        checked.names(self.context, "context")

    @property
    def plan(self) -> FieldPlan:
        """How its values are carried."""
        return replace(
            plan_of(self.type),
            identity=self.field,
            descriptor=default_descriptor(self.field),
            format=self.format,
            keyset=self.keyset,
            context=tuple(self.context),
        )


Plans = Mapping[str, FieldPlan]


def chosen(table: Any, schema: str | None, columns: Mapping[str, Column | str] | None) -> Plans:
    """Return the plans of a table's encrypted columns."""
    if (schema is None) == (columns is None):
        raise ConfigError("give the table's output schema, or columns: which are encrypted?")
    if schema is None:
        return _mapped(table, columns or {})
    reader = open_schema(schema)
    reader.refuse_clear()
    return _planned(table, reader.fields, reader.names)


def declared(table: Any, schema: str | None, columns: Mapping[str, Column | str] | None) -> Plans:
    """Return the plans of the columns that are to be encrypted."""
    if (schema is None) == (columns is None):
        raise ConfigError("give the input schema, or columns: what is to be encrypted?")
    if schema is None:
        return _mapped(table, columns or {})
    plan = whole.declared(schema).plan
    return _planned(table, plan.fields, plan.name.split("|"))


def _mapped(table: Any, columns: Mapping[str, Column | str]) -> Plans:
    missing = [name for name in columns if name not in _names(table)]
    if missing or not columns:
        raise ConfigError(f"the table has the columns {', '.join(_names(table))}; not {', '.join(missing) or 'none'}")
    return {name: (Column(field=c) if isinstance(c, str) else c).plan for name, c in columns.items()}


def _planned(table: Any, fields: Sequence[FieldPlan], records: Sequence[str]) -> Plans:
    names, found = _names(table), dict[str, FieldPlan]()
    for plan in fields:
        path = plan.identity.partition("/")[2]
        if path in names:
            found[path] = plan
        elif path.replace("[", ".").partition(".")[0] in names:
            raise ConfigError(f"{plan.identity} lies within a column; read such rows with decrypt_rows")
    if not found:
        raise ConfigError(f"none of the columns {', '.join(names)} is encrypted in the schema of {', '.join(records)}")
    return found


def _names(table: Any) -> list[str]:
    return [str(name) for name in (table.column_names if hasattr(table, "column_names") else table.columns)]


def decrypted(table: Frame, plans: Plans, call: KeyCall, errors: str) -> Frame:
    """Return a table with its encrypted columns in the clear."""
    arrow, back = _arrow(table)
    envelopes = {name: _envelopes(arrow.column(name), name) for name in plans}
    full = {name for name in plans if not arrow.column(name).null_count}
    bound = {name: plan for name, plan in plans.items() if plan.context or plan.bind}
    found = _opened_bound(arrow, bound, envelopes, call)
    found |= _opened({n: p for n, p in plans.items() if n not in bound}, envelopes, full, call)
    for name, plan in plans.items():
        values = found[name]
        wrong = [i for i, value in enumerate(values) if isinstance(value, WorkerError)] if _has_errors(values) else []
        if wrong and errors == "raise":
            raise values[wrong[0]] if name in bound else _placed(values[wrong[0]], plan)
        for i in wrong:
            values[i] = None
        arrow = arrow.set_column(arrow.column_names.index(name), name, arrow_array(plan.schema, values))
    made: Frame = back(arrow)
    return made


def _opened(
    plans: Plans, envelopes: Mapping[str, list[bytes | None]], full: Collection[str], call: KeyCall
) -> dict[str, list[Any]]:
    """Open columns that nothing is bound to, all with one request; what does not open is its error."""
    given: dict[str, Any] = {
        n: envelopes[n] if n in full else [value for value in envelopes[n] if value is not None] for n in plans
    }
    opened = [opening(given[name], plan.descriptor, Opening(schema=plan.schema)) for name, plan in plans.items()]
    requests = opened[0].requests if len(opened) == 1 else [r for each in opened for r in each.requests]
    keys, start = call.keys(requests) if requests else [], 0
    found: dict[str, list[Any]] = {}
    for name, each in zip(plans, opened, strict=True):
        values = each.finish(keys if len(opened) == 1 else keys[start : start + len(each.requests)])
        start += len(each.requests)
        if len(values) < len(envelopes[name]):
            rest = iter(values)
            values = [None if envelope is None else next(rest) for envelope in envelopes[name]]
        found[name] = values
    return found


def _has_errors(values: Sequence[object]) -> bool:
    """Whether a value is an error: a look at the types alone, which of a million values takes milliseconds."""
    return any(issubclass(kind, WorkerError) for kind in set(map(type, values)))


def _opened_bound(
    arrow: Any, plans: Plans, envelopes: Mapping[str, list[bytes | None]], call: KeyCall
) -> dict[str, list[Any]]:
    """Open columns that others are bound to, all with one request; what does not open is its error."""
    inputs: list[tuple[str, ValueColumn]] = []
    for name, plan in plans.items():
        inputs += [(name, column) for column in _split_by_format(_column(arrow, name, plan, envelopes[name]))]
    opened = BatchDecryptor(call).decrypt([column for _, column in inputs])
    found: dict[str, list[Any]] = {name: [None] * arrow.num_rows for name in plans}
    for (name, column), values in zip(inputs, opened.values, strict=True):
        for i, value in zip(column.records, values, strict=True):
            if value is None:
                found[name][i] = opened.denied.get(i, opened.errors[i])
            else:
                found[name][i] = decode_value(column.plan.schema, value)
    return found


def _placed(error: WorkerError, plan: FieldPlan) -> WorkerError:
    return type(error)(f"{plan.identity}: {error}")


def encrypted(table: Frame, plans: Plans, call: KeyCall) -> Frame:
    """Return a table with columns encrypted."""
    arrow, back = _arrow(table)
    inputs = [_column(arrow, name, plan, _plaintexts(arrow.column(name), name, plan)) for name, plan in plans.items()]
    sealed = BatchEncryptor(call).encrypt(inputs).envelopes
    for name, column, envelopes in zip(plans, inputs, sealed, strict=True):
        values: list[bytes | None] = [None] * arrow.num_rows
        for i, envelope in zip(column.records, envelopes, strict=True):
            values[i] = envelope
        arrow = arrow.set_column(arrow.column_names.index(name), name, pa.array(values, pa.binary()))
    made: Frame = back(arrow)
    return made


def _arrow(table: Any) -> tuple[Any, Callable[[Any], Any]]:
    if isinstance(table, pa.Table):
        return table, lambda made: made
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table]), lambda made: made.combine_chunks().to_batches()[0]
    if hasattr(table, "to_numpy") and hasattr(table, "columns"):
        return pa.Table.from_pandas(table, preserve_index=False), partial(_into_frame, table)
    raise ConfigError(f"a table is a pyarrow Table or RecordBatch, or a pandas DataFrame, not a {type(table).__name__}")


def _into_frame(frame: Any, made: Any) -> Any:
    """Return a frame with the columns that changed, and the others as they are."""
    out = frame.copy(deep=False)
    for name in made.column_names:
        if made.schema.field(name).type != pa.Schema.from_pandas(frame[[name]], preserve_index=False).field(0).type:
            out[name] = made.column(name).to_pandas().to_numpy()
    return out


def _envelopes(column: Any, name: str) -> list[bytes | None]:
    if pa.types.is_string(column.type) or pa.types.is_struct(column.type):
        raise ConfigError(f"column {name} is {column.type}; envelopes are binary (EQL payloads: decrypt_rows)")
    found: list[bytes | None] = column.to_pylist()
    return found


def _plaintexts(column: Any, name: str, plan: FieldPlan) -> list[bytes | None]:
    keeps_null = plan.null == "keep" and plan.null_branch is not None
    out: list[bytes | None] = []
    for value in column.to_pylist():
        if value is None and keeps_null:
            out.append(None)
            continue
        try:
            out.append(encode_value(plan.schema, value))
        except RecordError as exc:
            raise RecordError(f"column {name}: {exc}", code=exc.code, path=name) from None
    return out


def _column(arrow: Any, name: str, plan: FieldPlan, values: Sequence[bytes | None]) -> ValueColumn:
    if plan.bind:
        raise ConfigError(f"column {name} has bound values; read and write such rows one by one (decrypt_rows)")
    missing = [other for other in plan.context if other not in arrow.column_names]
    if missing:
        raise ConfigError(f"column {name} is bound to {', '.join(missing)}, which the table lacks")
    at = [i for i, value in enumerate(values) if value is not None]
    contexts = None
    if plan.context:
        texts = [[text_of_value(v) for v in arrow.column(other).to_pylist()] for other in plan.context]
        contexts = [tuple(each[i] for each in texts) for i in at]
    return ValueColumn(plan, [value for value in values if value is not None], at, contexts)


def _split_by_format(column: ValueColumn) -> list[ValueColumn]:
    """Part a column by the format of its envelopes: each is read as what it is."""
    places: dict[Format, list[int]] = {}
    for i, data in enumerate(column.values):
        kind: Format | None = "leased" if data[:1] == _LEASED else "record" if data[:1] in _RECORD else None
        if kind is None:
            raise not_an_envelope(f"row {column.records[i]} of {column.plan.identity} begins as none")
        places.setdefault(kind, []).append(i)
    if len(places) == 1:
        return [replace(column, plan=replace(column.plan, format=next(iter(places))))]
    return [
        ValueColumn(
            replace(column.plan, format=kind),
            [column.values[i] for i in at],
            [column.records[i] for i in at],
            None if column.contexts is None else [column.contexts[i] for i in at],
        )
        for kind, at in places.items()
    ]
