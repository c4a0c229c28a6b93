"""Fields that arrive encrypted (`already_encrypted = "pass"`): they go on only as envelopes of a keyset we know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from worker.avro import OutputSchema, open_schema
from worker.encryption import BatchDecryptor, record
from worker.encryption.leased import LeasedEnvelope
from worker.errors import RecordError
from worker.model import Batch, FieldPlan, ValueColumn


class PassedEnvelopes:
    """
    Checks the envelopes of one input schema; a value never passes because it looks encrypted.

    Each is of its field's format, carries its field's descriptor and a listed keyset, and opens.

    Args:
        schema: the input schema, some of whose fields have an `encryption` property.
        keysets: those that the config lists, resolved.
        opener: opens them; None where the route says `verify = "none"`.
    """

    def __init__(self, schema: OutputSchema, keysets: frozenset[UUID], opener: BatchDecryptor | None) -> None:
        self._schema, self._keysets, self._opener = schema, keysets, opener

    @property
    def are_opened(self) -> bool:
        """Whether what passes has been opened; if not, nobody knows that it is encrypted."""
        return self._opener is not None

    @property
    def bind_keys(self) -> bool:
        """Whether some of them are bound to their record's key."""
        return any("$key" in plan.bind for plan in self._schema.fields)

    def errors(
        self, batch: Batch, start: int, most: int | None = None, every: int | None = None
    ) -> dict[int, RecordError]:
        """
        Which records of a batch hold something else in an encrypted field, or over `most`, by their place, and why.

        Raises:
            KeyServiceUnavailable: no keys to open them with now.
            KeyAccessDenied: this identity may not decrypt at all.
            OverflowError: together they hold more than `every`.
        """
        split = self._schema.split([(value or b"")[start:] for value in batch.values], batch.keys, most, every)
        errors = dict(split.errors)
        for column in split.columns:
            for value, at in zip(column.values, column.records, strict=True):
                if at not in errors and (error := self._error(column.plan, value)) is not None:
                    errors[at] = error
        if self._opener is not None:
            _open(self._opener, split.columns, errors)
        return errors

    def _error(self, plan: FieldPlan, value: bytes) -> RecordError | None:
        where = plan.identity
        try:
            envelope = LeasedEnvelope.parse(value) if plan.format == "leased" else record.from_msgpack(value)
        except RecordError:
            return RecordError(f"{where} holds no {plan.format} envelope", code="not_an_envelope", path=where)
        if envelope.keyset not in self._keysets:
            message = f"{where} holds an envelope of a keyset that the config does not list"
            return RecordError(message, code="not_an_envelope", path=where)
        if envelope.descriptor != plan.descriptor:
            return RecordError(f"{where} holds another field's envelope", code="not_an_envelope", path=where)
        return None


def _open(opener: BatchDecryptor, columns: Sequence[ValueColumn], errors: dict[int, RecordError]) -> None:
    kept = [_without(column, errors) for column in columns]
    opened = opener.decrypt(kept)
    for column, values in zip(kept, opened.values, strict=True):
        for value, at in zip(values, column.records, strict=True):
            if value is None:
                where, error = column.plan.identity, opened.errors.get(at)
                if error is None or error.code != "subject_erased":
                    message = f"{where} holds an envelope that does not open"
                    error = RecordError(message, code="not_an_envelope", path=where)
                errors.setdefault(at, error)


def _without(column: ValueColumn, errors: Mapping[int, RecordError]) -> ValueColumn:
    at = [i for i, place in enumerate(column.records) if place not in errors]
    return replace(
        column,
        values=[column.values[i] for i in at],
        records=[column.records[i] for i in at],
        contexts=None if column.contexts is None else [column.contexts[i] for i in at],
        binds=None if column.binds is None else [column.binds[i] for i in at],
    )


def passed_envelopes(schema: str, keysets: frozenset[UUID], opener: BatchDecryptor | None) -> PassedEnvelopes | None:
    """Return the check of a schema's encrypted fields, None where it has none."""
    opened = open_schema(schema)
    return PassedEnvelopes(opened, keysets, opener) if opened.fields else None
