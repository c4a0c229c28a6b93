"""Schemas that files carry themselves."""

from __future__ import annotations

from collections.abc import Sequence

from worker.avro.frame import SchemaRef
from worker.avro.history import SchemaVersion, around
from worker.avro.source import RegisteredSchema, SchemaSource
from worker.errors import RecordError


class EmbeddedSchemas(SchemaSource):
    """
    The schemas of container files, numbered in the order in which they are met.

    Args:
        known: schemas of the same data elsewhere; a declaration that one of them has may not be lost on the way into a
            file, as it is where a program that wrote the file dropped properties it did not know.
    """

    def __init__(self, known: Sequence[SchemaVersion]) -> None:
        self._known = tuple(known)
        self._schemas: list[RegisteredSchema] = []

    def add(self, schema: str) -> RegisteredSchema:
        """Take a file's schema; the same text has the same number."""
        for known in self._schemas:
            if known.schema == schema:
                return known
        earlier, later = around(self._known, schema)
        ref = SchemaRef(id=len(self._schemas))
        self._schemas.append(RegisteredSchema(ref, schema, earlier=earlier, later=later))
        return self._schemas[-1]

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema of this number."""
        if ref.id is None or ref.id >= len(self._schemas):
            raise RecordError(f"no file with schema {ref} was opened", code="unknown_schema")
        return self._schemas[ref.id]

    def output_id(self, ref: SchemaRef, subject: str, output_schema: str) -> int:
        """The input's number: a file carries its output schema itself."""
        assert ref.id is not None
        return ref.id

    def history(self, topic: str) -> Sequence[SchemaVersion]:
        """What is known of the same data elsewhere."""
        return self._known

    def check(self) -> None:
        """Nothing can be away."""

    def close(self) -> None:
        """Nothing is open."""
