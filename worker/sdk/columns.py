"""Columns of pyarrow tables and pandas frames; needs the extra `tables`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from worker.sdk.options import Opening, Sealing
from worker.sdk.prepared import Open, opening, sealing
from worker.sdk.values import plan as plan_of

try:
    import pyarrow as pa

    from worker.sdk.arrays import Opened, hold, of_values, refuse_unheld, values_of
    from worker.sdk.frames import Back, names_of, taken
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
        checked.schema(self.type)
        sealing(self.field, Sealing(format=self.format, keyset=self.keyset))

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
    """Return the plans of a table's encrypted columns, each of a type that Arrow has."""
    if (schema is None) == (columns is None):
        raise ConfigError("give the table's output schema, or columns: which are encrypted?")
    if schema is None:
        found = _mapped(table, columns or {})
    else:
        reader = open_schema(schema)
        reader.refuse_clear()
        found = _planned(table, reader.fields, reader.names)
    refuse_unheld(found)
    return found


def declared(table: Any, schema: str | None, columns: Mapping[str, Column | str] | None) -> Plans:
    """Return the plans of the columns that are to be encrypted."""
    if (schema is None) == (columns is None):
        raise ConfigError("give the input schema, or columns: what is to be encrypted?")
    if schema is None:
        return _mapped(table, columns or {})
    plan = whole.declared(schema).plan
    return _planned(table, plan.fields, plan.name.split("|"))


def _mapped(table: Any, columns: Mapping[str, Column | str]) -> Plans:
    given = checked.mapping(columns, "columns", '{"email": "acme.crm.Customer/email"}')
    has = names_of(table)
    missing = [name for name in given if checked.text(name, "each name in columns") not in has]
    if missing or not given:
        raise ConfigError(f"the table has the columns {', '.join(has)}; not {', '.join(missing) or 'none'}")
    found = {name: _column_of(name, each).plan for name, each in given.items()}
    for name, plan in found.items():
        encrypted = [other for other in plan.context if other in found]
        if encrypted:
            raise ConfigError(
                f"column {name} is bound to {', '.join(encrypted)}, encrypted too: no reader would know it"
            )
    return found


def _column_of(name: str, given: object) -> Column:
    if isinstance(given, str):
        return Column(field=given)
    if not isinstance(given, Column):
        raise ConfigError(f"columns[{name!r}] is its field, or a Column(field=...), not a {type(given).__name__}")
    return given


def _planned(table: Any, fields: Sequence[FieldPlan], records: Sequence[str]) -> Plans:
    names, found = names_of(table), dict[str, FieldPlan]()
    for plan in fields:
        path = plan.identity.partition("/")[2]
        if path in names:
            found[path] = plan
        elif path.replace("[", ".").partition(".")[0] in names:
            raise ConfigError(f"{plan.identity} lies within a column; read such rows with decrypt_rows")
    if not found:
        raise ConfigError(f"none of the columns {', '.join(names)} is encrypted in the schema of {', '.join(records)}")
    return found


def decrypted(table: Frame, plans: Plans, call: KeyCall, errors: str) -> Frame:
    """Return a table with its encrypted columns in the clear."""
    arrow, back = _taken(table, plans)
    bound = {name: plan for name, plan in plans.items() if plan.context or plan.bind}
    found = _opened_bound(arrow, bound, call) | _opened(arrow, {n: p for n, p in plans.items() if n not in bound}, call)
    for name, plan in plans.items():
        column = found[name]
        if column.faults and errors == "raise":
            row = min(column.faults)
            raise column.faults[row] if name in bound else _placed(column.faults[row], plan, row)
        arrow = arrow.set_column(arrow.column_names.index(name), name, column.array())
    made: Frame = back(arrow, plans)
    return made


def _opened(arrow: Any, plans: Plans, call: KeyCall) -> dict[str, Opened]:
    """Open columns that nothing is bound to, all with one request."""
    held = {name: hold(arrow.column(name), plan) for name, plan in plans.items()}
    listed = {name: _listed(arrow.column(name), name, plan) for name, plan in plans.items() if held[name] is None}
    wanted = {name: column.requests if (column := held[name]) else listed[name].requests for name in plans}
    requests = next(iter(wanted.values())) if len(wanted) == 1 else [r for each in wanted.values() for r in each]
    keys, start, found = call.keys(requests) if requests else [], 0, dict[str, Opened]()
    for name, plan in plans.items():
        mine = keys if len(wanted) == 1 else keys[start : start + len(wanted[name])]
        start += len(wanted[name])
        column = held[name]
        opened = None if column is None else column.open(mine)
        if opened is None:
            each = listed.get(name) or _listed(arrow.column(name), name, plan)
            had = dict(zip(wanted[name], mine, strict=True)) if column else {}
            values = each.finish([had[request] for request in each.requests] if column else mine)
            opened = of_values(plan, _spread(arrow.column(name), values))
        found[name] = opened
    return found


def _listed(column: Any, name: str, plan: FieldPlan) -> Open:
    """A column's envelopes, without its nulls, as Python has them."""
    envelopes = [value for value in _envelopes(column, name) if value is not None]
    return opening(envelopes, plan.descriptor, Opening(schema=plan.schema))


def _spread(column: Any, values: list[Any]) -> list[Any]:
    """Put nulls where the column has them."""
    if not column.null_count:
        return values
    rest = iter(values)
    return [next(rest) if is_valid else None for is_valid in column.is_valid().to_pylist()]


def _opened_bound(arrow: Any, plans: Plans, call: KeyCall) -> dict[str, Opened]:
    """Open columns that others are bound to, all with one request."""
    inputs: list[tuple[str, ValueColumn]] = []
    for name, plan in plans.items():
        envelopes = _envelopes(arrow.column(name), name)
        inputs += [(name, column) for column in _split_by_format(_column(arrow, name, plan, envelopes))]
    opened = BatchDecryptor(call).decrypt([column for _, column in inputs])
    found: dict[str, list[Any]] = {name: [None] * arrow.num_rows for name in plans}
    for (name, column), values in zip(inputs, opened.values, strict=True):
        for i, value in zip(column.records, values, strict=True):
            if value is None:
                found[name][i] = opened.denied.get(i, opened.errors[i])
            else:
                found[name][i] = decode_value(column.plan.schema, value)
    return {name: of_values(plan, found[name]) for name, plan in plans.items()}


def _placed(error: WorkerError, plan: FieldPlan, row: int) -> WorkerError:
    return type(error)(f"{plan.identity}, row {row}: {error}")


def encrypted(table: Frame, plans: Plans, call: KeyCall) -> Frame:
    """Return a table with columns encrypted."""
    arrow, back = _taken(table, plans)
    inputs = [_column(arrow, name, plan, _plaintexts(arrow.column(name), name, plan)) for name, plan in plans.items()]
    sealed = BatchEncryptor(call).encrypt(inputs).envelopes
    for name, column, envelopes in zip(plans, inputs, sealed, strict=True):
        values: list[bytes | None] = [None] * arrow.num_rows
        for i, envelope in zip(column.records, envelopes, strict=True):
            values[i] = envelope
        arrow = arrow.set_column(arrow.column_names.index(name), name, pa.array(values, pa.binary()))
    made: Frame = back(arrow, plans)
    return made


def _taken(table: Any, plans: Plans) -> tuple[Any, Back]:
    return taken(table, {*plans, *(other for plan in plans.values() for other in plan.context)})


def _envelopes(column: Any, name: str) -> list[bytes | None]:
    if pa.types.is_string(column.type) or pa.types.is_struct(column.type):
        raise ConfigError(f"column {name} is {column.type}; envelopes are binary (EQL payloads: decrypt_rows)")
    found: list[bytes | None] = column.to_pylist()
    return found


def _plaintexts(column: Any, name: str, plan: FieldPlan) -> list[bytes | None]:
    keeps_null = plan.null == "keep" and plan.null_branch is not None
    out: list[bytes | None] = []
    for value in values_of(column, name, plan):
        if value is None and keeps_null:
            out.append(None)
            continue
        try:
            out.append(encode_value(plan.schema, value))
        except RecordError as exc:
            what = (
                f"of type {type(value).__name__}: give another Column(type=...)"
                if value is not None
                else 'null, which needs a type as ["null", "string"]'
            )
            where = f"column {name}, row {len(out)}"
            raise RecordError(f"{where}: {exc}; this is {what}", code=exc.code, path=name) from None
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
        texts = [_texts(arrow.column(other), other, name) for other in plan.context]
        contexts = [tuple(each[i] for each in texts) for i in at]
    return ValueColumn(plan, [value for value in values if value is not None], at, contexts)


def _texts(column: Any, name: str, bound: str) -> list[str]:
    try:
        return [text_of_value(value) for value in column.to_pylist()]
    except RecordError as exc:
        raise RecordError(f"column {bound} is bound to {name}: {exc}", code=exc.code, path=bound) from None


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
