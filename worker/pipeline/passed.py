"""Fields that arrive encrypted (`already_encrypted = "pass"`): they go on only as envelopes of a keyset we know."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from worker.avro import OutputSchema, open_schema
from worker.encryption import record
from worker.encryption.leased import LeasedEnvelope
from worker.errors import RecordError
from worker.model import Batch, FieldPlan


class PassedEnvelopes:
    """
    Checks the envelopes of one input schema; a value never passes because it looks encrypted.

    Args:
        schema: the input schema, some of whose fields have an `encryption` property.
        keysets: those that the config lists, resolved.
    """

    def __init__(self, schema: OutputSchema, keysets: frozenset[UUID]) -> None:
        self._schema, self._keysets = schema, keysets

    def errors(self, batch: Batch, keys: Sequence[bytes | None], start: int) -> dict[int, RecordError]:
        """Which records of a batch hold something else in an encrypted field, by their place, and why."""
        split = self._schema.split([(value or b"")[start:] for value in batch.values], keys)
        errors = dict(split.errors)
        for column in split.columns:
            for value, at in zip(column.values, column.records, strict=True):
                if at not in errors and (error := self._error(column.plan, value)) is not None:
                    errors[at] = error
        return errors

    def _error(self, plan: FieldPlan, value: bytes) -> RecordError | None:
        where = plan.identity
        try:
            leased = plan.format == "leased"
            keyset = LeasedEnvelope.parse(value).keyset if leased else record.from_msgpack(value).keyset
        except RecordError:
            return RecordError(f"{where} holds no {plan.format} envelope", code="not_an_envelope", path=where)
        if keyset not in self._keysets:
            message = f"{where} holds an envelope of a keyset that the config does not list"
            return RecordError(message, code="not_an_envelope", path=where)
        return None


def passed_envelopes(schema: str, keysets: frozenset[UUID]) -> PassedEnvelopes | None:
    """Return the check of a schema's encrypted fields, None where it has none."""
    opened = open_schema(schema)
    return PassedEnvelopes(opened, keysets) if opened.fields else None
