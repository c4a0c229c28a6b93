"""Envelopes that the extension opens: the bytes of either format, without a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from worker.avro import decode_values, schema_fingerprint, slot_of
from worker.encryption import leased
from worker.encryption.unspans import fault_of, sources_of
from worker.encryption.values import values_of_typed
from worker.model import ContextElement, DataKey, KeyRefused
from worker.native import IS_LOADED, extension
from worker.native.requests import NativeRequests, Sources
from worker.sdk import values as forms
from worker.sdk.values import Bind

if TYPE_CHECKING:
    from worker import _native


_FEW = 8
"""Fewer envelopes than these are opened sooner without the way into native memory and back."""


@dataclass(frozen=True, slots=True)
class NativeOpening:
    """
    Envelopes in native memory.

    Args:
        held: the envelopes.
        numbers: of each the number of its request; None for one that the twin has to read.
        left: places of those.
        requests: which keys these ask for.
        types: by fingerprint, how a leased value may be read.
        schema: the values' Avro type, where it is given.
    """

    held: _native.Envelopes
    numbers: Sequence[int | None]
    left: Sequence[int]
    requests: NativeRequests
    types: dict[bytes, str]
    schema: str | None

    def finish(
        self, answers: Sequence[DataKey | KeyRefused], named: Sequence[tuple[str, str]], bind: Bind, found: list[Any]
    ) -> None:
        """Put each value, or what is wrong with it, into its place."""
        values, faults = self._open(sources_of(self.requests, answers), named, bind, None)
        prints = [self.requests.fingerprint(i) for i in range(len(self.requests))]
        schemas = [self.schema if print_ is None else self.types[print_] for print_ in prints]
        if len(set(schemas)) == 1 and not self.left:
            found[:] = _read(schemas[0], values)
        else:
            _read_each(values, [None if n is None else schemas[n] for n in self.numbers], found)
        for i, word, number in faults:
            found[i] = fault_of(word, "record" if prints[number] is None else "leased", answers, number)

    def in_parts(
        self, named: Sequence[tuple[str, str]], bind: Bind
    ) -> Callable[[Sequence[DataKey | KeyRefused]], list[Any]]:
        """Return what reads the next values, or says what is wrong with them, of envelopes with a key each."""
        start = 0

        def read(answers: Sequence[DataKey | KeyRefused]) -> list[Any]:
            nonlocal start
            first, start = start, start + len(answers)
            sources = sources_of(self.requests.part(first, start), answers)
            values, faults = self._open(sources, named, bind, (first, start))
            found = _read(self.schema, values)
            for i, word, number in faults:
                found[i] = fault_of(word, "record", answers, number - first)
            return found

        return read

    def _open(
        self, sources: Sources, named: Sequence[tuple[str, str]], bind: Bind, part: tuple[int, int] | None
    ) -> tuple[list[bytes | str | None], list[tuple[int, str, int]]]:
        bound = leased.framer(tuple(bind))(tuple(bind.values()))
        field = None if self.schema is None else slot_of(forms.plan(self.schema))
        return self.held.open(sources, leased.framed_context(named), bound, field, part)


def native_opening(
    envelopes: Sequence[object],
    descriptor: str | None,
    schema: str | None,
    elements: tuple[ContextElement, ...],
    bind: Bind,
) -> NativeOpening | None:
    """Return what the extension takes of some envelopes; None where that is nothing."""
    if not IS_LOADED or len(envelopes) < _FEW:
        return None
    types = forms.known_types() if schema is None else {schema_fingerprint(schema): schema}
    held = extension.Envelopes(envelopes, descriptor, list(types), bool(bind))
    requests = NativeRequests(held.requests, [[elements]])
    if not len(requests):
        return None
    numbers = held.numbers
    left = [i for i, number in enumerate(numbers) if number is None] if None in numbers else []
    return NativeOpening(held, numbers, left, requests, types, schema)


def _read(schema: str | None, values: Sequence[Any]) -> list[Any]:
    """Read plaintexts, None staying None: Avro where the schema is known, else the typed form but for its texts."""
    if schema is not None:
        return decode_values(schema, values)
    if bytes not in set(map(type, values)):
        return list(values)
    rest = iter(values_of_typed(value for value in values if isinstance(value, bytes)))
    return [next(rest) if isinstance(value, bytes) else value for value in values]


def _read_each(values: Sequence[Any], schemas: Sequence[str | None], found: list[Any]) -> None:
    """Read plaintexts into their places, each by its own schema."""
    by_schema: dict[str | None, list[int]] = {}
    for i, (value, schema) in enumerate(zip(values, schemas, strict=True)):
        if value is not None:
            by_schema.setdefault(schema, []).append(i)
    for schema, places in by_schema.items():
        for i, read in zip(places, _read(schema, [values[i] for i in places]), strict=True):
            found[i] = read
