"""One value between Python, Avro and its envelope."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, ParamSpec, TypeVar

from worker.avro import (
    DeclarationOptions,
    OutputSchema,
    compile_schema,
    decode_value,
    open_schema,
    schema_fingerprint,
)
from worker.avro.schema import parse as parse_schema
from worker.avro.schema import to_json
from worker.encryption import BatchDecryptor, EncryptedRecord, LeasedEnvelope, leased, record
from worker.encryption.anyform import AnyEnvelope, parse
from worker.encryption.plaintext import from_typed
from worker.encryption.refusal import not_an_envelope
from worker.encryption.unbatch import expect_descriptor, granted
from worker.encryption.values import text_of_value, value_of_typed
from worker.errors import ConfigError, DecryptionError, KeyAccessDenied, RecordError
from worker.model import ContextElement, DataKey, FieldPlan, IdentityClaim, KeyRefused, Tag, Value
from worker.sdk import checked

Context = Mapping[str, object]
Bind = Mapping[str, bytes]
Envelope = EncryptedRecord | LeasedEnvelope
P = ParamSpec("P")
T = TypeVar("T")
_PRIMITIVES = ("boolean", "int", "long", "float", "double", "string", "bytes")
_OF_PYTHON = ((bool, "boolean"), (int, "long"), (float, "double"), (str, "string"))
"""Narrower types first. Bytes are none: without its schema no reader could tell them from a decimal."""


class Described(NamedTuple):
    """A value, and the descriptor of its envelope: authenticated, but it says nothing of where it was found."""

    value: Any
    descriptor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockContext:
    """
    Who and what a key is locked to beyond its field; decryption needs the same, in the same order.

    Args:
        identity: claims of the caller's token whose values the service reads itself, such as `sub`.
        values: names and texts that the caller presents.
        tags: bare labels.
    """

    identity: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checked.names(self.identity, "identity")
        checked.names(self.tags, "tags")
        for name, value in checked.mapping(self.values, "values", '{"team": "support"}').items():
            checked.text(name, "a name in values")
            checked.text(value, "each of values")
        if not (self.identity or self.values or self.tags):
            raise ConfigError("this lock context locks to nothing: name a claim, a value or a tag, or leave it out")

    @property
    def elements(self) -> tuple[ContextElement, ...]:
        """The context as the service takes it: claims, values, tags."""
        claims = tuple(IdentityClaim(claim) for claim in self.identity)
        return (*claims, *(Value(n, v) for n, v in self.values.items()), *(Tag(label) for label in self.tags))


def texts(context: Context | None) -> list[tuple[str, str]]:
    """Return names and texts of sibling values, in the caller's order."""
    if context is None:
        return []
    named = checked.mapping(context, "context", '{"tenant_id": "acme"}')
    found = [(checked.text(name, "a name in context"), text_of_value(value)) for name, value in named.items()]
    return [(name, checked.text(text, f"context[{name!r}]")) for name, text in found]


def elements(named: Sequence[tuple[str, str]], lock_context: LockContext | None) -> tuple[ContextElement, ...]:
    """Return a key's whole context: the siblings first, then the lock context."""
    if lock_context is not None and not isinstance(lock_context, LockContext):
        raise ConfigError(f"lock_context is a LockContext, not a {type(lock_context).__name__}")
    siblings = tuple(Value(name, text) for name, text in named)
    return siblings if lock_context is None else siblings + lock_context.elements


def schema_of(values: Sequence[object]) -> str:
    """Return the Avro type of Python values; raises `RecordError` where they do not share a primitive one."""
    kinds = set(map(type, values))
    found = {next((word for each, word in _OF_PYTHON if issubclass(kind, each)), None) for kind in kinds}
    if len(found) != 1 or None in found:
        named = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise RecordError(
            f"leased values share one of bool, int, float and str, but here is {named}: give their schema"
        )
    return json.dumps(found.pop())


@functools.lru_cache(maxsize=256)
def plan(schema: str) -> FieldPlan:
    """Return how a field of this Avro type is carried; raises `DeclarationError`."""
    declared = {"name": "value", "type": to_json(parse_schema(schema)), "encrypted": {"format": "record"}}
    root = {"type": "record", "name": "WorkerSdkValue", "fields": [declared]}
    return compile_schema(json.dumps(root), DeclarationOptions()).plan.fields[0]


@functools.lru_cache(maxsize=64)
def output(schema: str) -> OutputSchema:
    """Return an output schema, compiled once."""
    return open_schema(schema)


@functools.lru_cache(maxsize=1)
def known_types() -> dict[bytes, str]:
    """The types whose fingerprint alone tells how to read a leased value."""
    # A decimal has the fingerprint of its bytes, and these are not its value.
    names = [name for name in _PRIMITIVES if name != "bytes"]
    types: list[object] = [*names, *(["null", name] for name in names), *([name, "null"] for name in names)]
    return {schema_fingerprint(text): text for text in map(json.dumps, types)}


def expect(envelope: AnyEnvelope, descriptor: str | None) -> Envelope:
    """Read an envelope and, unless it is None, compare its descriptor; raises `DecryptionError`."""
    if isinstance(envelope, bytearray | memoryview):
        envelope = bytes(envelope)
    if not isinstance(envelope, bytes | str | Mapping):
        raise not_an_envelope(f"a {type(envelope).__name__}; bytes, text or a mapping is")
    parsed = parse(envelope)
    if descriptor is not None:
        expect_descriptor(descriptor, parsed.descriptor)
    return parsed


def open_value(
    envelope: Envelope, key: DataKey | KeyRefused, schema: str | None, named: Sequence[tuple[str, str]], bind: Bind
) -> Any:
    """Open one envelope to its Python value; raises `DecryptionError`."""
    data_key = granted(key)
    if isinstance(envelope, LeasedEnvelope):
        chosen = _leased_type(envelope, schema)
        plain = leased.open(data_key, envelope, context=named, bind_names=tuple(bind), bind=tuple(bind.values()))
        return decode_value(chosen, plain)
    if bind:
        raise DecryptionError("an envelope of the format `record` binds no values: it is not the one that was written")
    typed = record.open_record(data_key, envelope)
    if schema is None:
        return value_of_typed(typed)
    return decode_value(schema, from_typed(plan(schema))(typed))


def restore(
    datums: Sequence[bytes],
    schema: str,
    keys: Sequence[bytes | None],
    decryptor: BatchDecryptor,
    *,
    plans: Mapping[str, FieldPlan] | None = None,
) -> list[dict[str, object] | RecordError | KeyAccessDenied]:
    """Return the values of whole records, or why one did not open; `plans` by identity count before the schema's."""
    reader = output(schema)
    if plans is None:
        opened = decryptor.open(reader.split_batch(datums, keys))
        errors: dict[int, RecordError | KeyAccessDenied] = {**opened.errors, **opened.denied}
        values = reader.records(opened.data)
        return [errors[i] if value is None else value for i, value in enumerate(values)]
    split = reader.split(datums, keys)
    columns = [replace(c, plan=plans.get(c.plan.identity, c.plan)) for c in split.columns]
    found = decryptor.decrypt(columns)
    errors = {**found.errors, **found.denied, **split.errors}
    restored = split.join([[b"" if value is None else value for value in column] for column in found.values])
    return [
        errors[i] if i in errors or datum is None else attempt(reader.record, datum) for i, datum in enumerate(restored)
    ]


def attempt(call: Callable[P, T], *args: P.args, **options: P.kwargs) -> T | RecordError:
    """Return what the call returns, or the verdict on its record."""
    try:
        return call(*args, **options)
    except RecordError as exc:
        return exc


def _leased_type(envelope: LeasedEnvelope, schema: str | None) -> str:
    if schema is None:
        found = known_types().get(envelope.fingerprint)
        if found is None:
            raise DecryptionError("the value's type does not tell how to read it: give its Avro schema")
        return found
    if schema_fingerprint(schema) != envelope.fingerprint:
        raise DecryptionError("the value was sealed as another Avro type than the one given")
    return schema
