"""Envelopes to Python values, under keys from whichever source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.avro import decode_values, schema_fingerprint, slot_of
from worker.encryption import leased
from worker.encryption.anyform import AnyEnvelope
from worker.encryption.unspans import fault_of, sources_of
from worker.encryption.values import value_of_typed
from worker.errors import RecordError
from worker.model import ContextElement, DecryptionKeys
from worker.native import IS_LOADED, extension
from worker.native.requests import NativeRequests
from worker.sdk import values as forms


@dataclass(frozen=True, slots=True)
class Asked:
    """
    What the envelopes of one call have in common.

    Args:
        descriptor: what each must carry; None takes what each carries.
        schema: the values' Avro type, where it is given.
        named: names and texts of the context.
        elements: the whole context of each key.
        bind: names and bytes of what is bound.
    """

    descriptor: str | None
    schema: str | None
    named: Sequence[tuple[str, str]]
    elements: tuple[ContextElement, ...]
    bind: Mapping[str, bytes]


def open_each(source: DecryptionKeys, envelopes: Sequence[AnyEnvelope], asked: Asked) -> list[Any]:
    """Return each envelope's value, or the verdict on it."""
    found: list[Any] = [None] * len(envelopes)
    left = _open_native(source, envelopes, asked, found) if IS_LOADED else range(len(envelopes))
    wanted: dict[int, forms.Envelope] = {}
    for i in left:
        parsed = found[i] = forms.attempt(forms.expect, envelopes[i], asked.descriptor)
        if not isinstance(parsed, RecordError):
            wanted[i] = parsed
    keys = source.keys([envelope.request(asked.elements) for envelope in wanted.values()]) if wanted else ()
    for (i, envelope), key in zip(wanted.items(), keys, strict=True):
        found[i] = forms.attempt(forms.open_value, envelope, key, asked.schema, asked.named, asked.bind)
    return found


def _open_native(source: DecryptionKeys, envelopes: Sequence[AnyEnvelope], asked: Asked, found: list[Any]) -> list[int]:
    """Open what the extension takes; returns the places of the rest, which the twin judges."""
    types = forms.known_types() if asked.schema is None else {schema_fingerprint(asked.schema): asked.schema}
    held = extension.Envelopes(envelopes, asked.descriptor, list(types), bool(asked.bind))
    requests, numbers = held.requests, held.numbers
    if len(requests):
        asking = NativeRequests(requests, [[asked.elements]])
        answers = source.keys(asking)
        bound = leased.framer(tuple(asked.bind))(tuple(asked.bind.values()))
        field = None if asked.schema is None else slot_of(forms.plan(asked.schema))
        values, faults = held.open(sources_of(asking, answers), leased.framed_context(asked.named), bound, field)
        prints = [requests.fingerprint(i) for i in range(len(requests))]
        schemas = [asked.schema if print_ is None else types[print_] for print_ in prints]
        _read(values, [None if n is None else schemas[n] for n in numbers], found)
        for i, word, number in faults:
            found[i] = fault_of(word, "record" if prints[number] is None else "leased", answers, number)
    return [i for i, number in enumerate(numbers) if number is None]


def _read(values: Sequence[bytes | None], schemas: Sequence[str | None], found: list[Any]) -> None:
    """Read plaintexts: Avro where the schema is known, else the typed form."""
    by_schema: dict[str, list[int]] = {}
    for i, (value, schema) in enumerate(zip(values, schemas, strict=True)):
        if value is not None and schema is None:
            found[i] = forms.attempt(value_of_typed, value)
        elif value is not None and schema is not None:
            by_schema.setdefault(schema, []).append(i)
    for schema, places in by_schema.items():
        for i, read in zip(places, decode_values(schema, [values[i] for i in places]), strict=True):
            found[i] = read
