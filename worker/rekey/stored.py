"""The schemas of what a topic holds already, and how each of them is sealed anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from worker.avro import SchemaRef, SchemaSource, frame, open_schema
from worker.errors import RecordError
from worker.rekey.marks import Marks
from worker.rekey.recode import Recoder
from worker.rekey.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Renewed:
    """One stored schema: what encrypts its records anew, and what the new ones are framed with."""

    recoder: Recoder
    schema_id: str
    prefix: bytes


class StoredSchemas:
    """
    Stored schemas by reference.

    Args:
        of: a reference's output schema; raises `RecordError` for an unknown one.
        wanted: how their records are to be encrypted.
        registry: where new output schemas get their number; None keeps the number that a record has.
        subject: a record's full name to the subject that its new output schema is registered under.
    """

    def __init__(
        self,
        of: Callable[[SchemaRef], str],
        wanted: Wanted,
        *,
        registry: SchemaSource | None,
        subject: Callable[[str], str],
    ) -> None:
        self._of, self._wanted, self._registry, self._subject = of, wanted, registry, subject
        self._renewed: dict[str, Renewed] = {}
        self._marks: dict[str, Marks] = {}

    def text(self, ref: SchemaRef) -> str:
        """Return a stored schema's text; raises `RecordError`."""
        return self._of(ref)

    def renewed(self, ref: SchemaRef, make: Callable[..., Recoder]) -> Renewed:
        """
        Return how a schema's records are encrypted anew; registers their new schema.

        Raises:
            RecordError: there is no such schema.
            ConfigError: it encrypts nothing, or not what is wanted.
            TransientError: the registry is away.
        """
        known = self._renewed.get(str(ref))
        if known is None:
            stored = self._of(ref)
            compiled = self._wanted.compiled(stored)
            plan = compiled.plan
            if self._registry is None:
                if ref.id is None:
                    raise RecordError(f"schema {ref}: a GUID names a schema of a registry; give its --config")
                number = ref.id
            else:
                number = self._registry.output_id(ref, self._subject(plan.name), plan.output_schema)
            known = self._renewed[str(ref)] = Renewed(make(stored, compiled), str(number), frame(number))
        return known

    def marks(self, ref: SchemaRef, make: Callable[[str], Marks]) -> Marks:
        """Return how the envelopes of a schema's records are to look; raises as `renewed`."""
        if str(ref) not in self._marks:
            self._marks[str(ref)] = make(self._of(ref))
        return self._marks[str(ref)]


def fixed(text: str) -> Callable[[SchemaRef], str]:
    """Return the one schema for every reference; raises `DeclarationError` where it encrypts nothing."""
    open_schema(text).refuse_clear()
    return lambda _ref: text


def local(outputs: Mapping[int, str]) -> Callable[[SchemaRef], str]:
    """Return what finds the output schemas of `[schemas.local]` by the number that they carry."""

    def of(ref: SchemaRef) -> str:
        if ref.id is None or ref.id not in outputs:
            raise RecordError(f"[schemas.local] has no schema whose output_id is {ref}", code="unknown_schema")
        return outputs[ref.id]

    return of


def registered(source: SchemaSource) -> Callable[[SchemaRef], str]:
    """Return what asks a registry."""
    return lambda ref: source.get(ref).schema
