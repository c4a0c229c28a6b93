"""What schemas come from, and the files of an operator who has no registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.avro.frame import SchemaRef
from worker.avro.history import SchemaVersion
from worker.errors import RecordError


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """
    A schema with what it needs to be compiled.

    Args:
        ref: how messages name it.
        schema: JSON text.
        references: texts of the schemas it refers to, in their order of dependence.
        metadata_tags: path pattern to tags, from the registry's metadata.
        earlier: the earlier versions of each subject that has the schema, oldest first.
    """

    ref: SchemaRef
    schema: str
    references: tuple[str, ...] = ()
    metadata_tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    earlier: tuple[SchemaVersion, ...] = ()


class SchemaSource(Protocol):
    """Where schemas come from, and where output schemas get their number."""

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema. Raises `RecordError` (code `unknown_schema`) or `RegistryUnavailable`."""
        ...

    def get_key(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema of a record's key; as `get`."""
        return self.get(ref)

    def output_id(self, ref: SchemaRef, subject: str, output_schema: str) -> int:
        """The output schema's number under the sink's subject. Raises `DeclarationError` or `RegistryUnavailable`."""
        ...

    def history(self, topic: str) -> Sequence[SchemaVersion]:
        """The schemas known for a topic's values, oldest first. Raises `RegistryUnavailable`."""
        ...

    def check(self) -> None:
        """Raise `RegistryUnavailable` or `ConfigError` where the source can't be used."""
        ...

    def close(self) -> None:
        """Close connections, if there are any; safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class LocalSchema:
    """A schema the operator names: its text, the number its output carries, and whether it is one of record keys."""

    input: str
    output_id: int
    key: bool = False


class LocalSchemas(SchemaSource):
    """Schemas from the config; no registry is asked."""

    def __init__(self, schemas: Mapping[int, LocalSchema]) -> None:
        self._schemas = dict(schemas)

    def _local(self, ref: SchemaRef) -> LocalSchema:
        if ref.id is None or ref.id not in self._schemas:
            raise RecordError(f"[schemas.local] has no schema {ref}", code="unknown_schema")
        return self._schemas[ref.id]

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema the config names for this number."""
        return RegisteredSchema(ref, self._local(ref).input)

    def get_key(self, ref: SchemaRef) -> RegisteredSchema:
        """The key schema of this number; a value's is none, whatever a binary key looks like."""
        if not self._local(ref).key:
            raise RecordError(f"[schemas.local] has no key schema {ref}", code="unknown_schema")
        return self.get(ref)

    def output_id(self, ref: SchemaRef, subject: str, output_schema: str) -> int:
        """The number the config maps this one to."""
        return self._local(ref).output_id

    def history(self, topic: str) -> Sequence[SchemaVersion]:
        """Every schema of values in the config: which topic each is for it does not say."""
        return [SchemaVersion(s.input, label=f"[schemas.local] {n}") for n, s in self._schemas.items() if not s.key]

    def check(self) -> None:
        """Files were read when the config was; nothing can be away."""

    def close(self) -> None:
        """Nothing is open."""
