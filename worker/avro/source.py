"""Where schemas come from, and the source that asks nobody: files the operator names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from worker.avro.frame import SchemaRef
from worker.avro.history import SchemaVersion, root_names
from worker.errors import ConfigError, RecordError


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
        later: the later ones.
    """

    ref: SchemaRef
    schema: str
    references: tuple[str, ...] = ()
    metadata_tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    earlier: tuple[SchemaVersion, ...] = ()
    later: tuple[SchemaVersion, ...] = ()

    @property
    def version(self) -> SchemaVersion:
        """The schema as it is compiled."""
        return SchemaVersion(self.schema, self.references, self.metadata_tags)


@dataclass(frozen=True, slots=True)
class Candidate:
    """
    A schema whose records are to be expected.

    Args:
        version: the schema; its label says whose it is.
        topics: where its records come from.
        earlier: the earlier versions, oldest first.
        later: the later ones, where the schema is one of a line already.
    """

    version: SchemaVersion
    topics: tuple[str, ...]
    earlier: tuple[SchemaVersion, ...] = ()
    later: tuple[SchemaVersion, ...] = ()


class Compatibility(StrEnum):
    """What a registry says of an output schema before it is registered under a subject."""

    REGISTERED = "registered already"
    FIRST = "the subject's first version"
    COMPATIBLE = "compatible with the latest version"
    INCOMPATIBLE = "incompatible with the latest version"
    UNJUDGED = "not judged by this registry"


class SchemaSource(Protocol):
    """
    Where schemas come from, and where output schemas get their number.

    `addresses` are the URLs that are really asked, none where nobody is, through `proxy` where one is named.
    """

    addresses: tuple[str, ...] = ()
    proxy: str | None = None

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        """
        The schema; another object once there is something new to say of its versions.

        Raises `RecordError` (code `unknown_schema`) or `RegistryUnavailable`.
        """
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

    def candidates(self, topics: Sequence[str], texts: Sequence[str] = ()) -> Sequence[Candidate]:
        """
        The schemas of values that are to be expected, with what precedes each. Raises `RegistryUnavailable`.

        Args:
            topics: where records come from.
            texts: new schemas, each judged against all that is known; none stands for the latest that is known.
        """
        return ()

    def key_schemas(self, topics: Sequence[str]) -> Sequence[SchemaVersion]:
        """The schemas known for the topics' keys. Raises `RegistryUnavailable`."""
        return ()

    def compatibility(self, subject: str, output_schema: str) -> Compatibility | None:
        """What is said of an output schema before it has a number; None where there is nobody to judge."""
        return None

    def refuse_output(self, subject: str, output_schema: str) -> None:
        """Raise `DeclarationError` where `output_id` would; nothing is registered."""
        return

    def check(self) -> None:
        """Raise `RegistryUnavailable` or `ConfigError` where the source can't be used."""
        ...

    def close(self) -> None:
        """Close connections, if there are any; safe to call twice."""
        ...


@dataclass(frozen=True, slots=True)
class LocalSchema:
    """A schema the operator names: its text, the number its output carries, whether it is one of keys, its file."""

    input: str
    output_id: int
    key: bool = False
    file: str = ""

    def label(self, number: int) -> str:
        """Return what the schema is called in messages."""
        return f"schema {number}" + (f" ({self.file})" if self.file else "")


class LocalSchemas(SchemaSource):
    """Schemas from the config; no registry is asked. Raises `ConfigError` where two would have one output id."""

    def __init__(self, schemas: Mapping[int, LocalSchema]) -> None:
        self._schemas = dict(schemas)
        owners: dict[int, int] = {}
        for number, own in self._schemas.items():
            other = owners.setdefault(own.output_id, number)
            if self._schemas[other].input != own.input:
                raise ConfigError(
                    f"[schemas.local] {self._schemas[other].label(other)} and {own.label(number)} have one output_id, "
                    f"{own.output_id}, so that no reader could tell their records apart; give each its own"
                )
        self._got: dict[SchemaRef, RegisteredSchema] = {}

    def _local(self, ref: SchemaRef) -> LocalSchema:
        if ref.id is None or ref.id not in self._schemas:
            raise RecordError(f"[schemas.local] has no schema {ref}", code="unknown_schema")
        return self._schemas[ref.id]

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema the config names for this number; what others of the same record declare counts as later."""
        if ref not in self._got:
            own = self._local(ref)
            self._got[ref] = RegisteredSchema(ref, own.input, later=self._others(own))
        return self._got[ref]

    def _others(self, own: LocalSchema) -> tuple[SchemaVersion, ...]:
        """The other schemas whose root has a name of this one's: files have no order."""
        names = root_names(own.input)
        return tuple(
            SchemaVersion(other.input, label=f"[schemas.local] {n}", subject=str(n))
            for n, other in self._schemas.items()
            if other.key is own.key and other != own and not names.isdisjoint(root_names(other.input))
        )

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

    def candidates(self, topics: Sequence[str], texts: Sequence[str] = ()) -> Sequence[Candidate]:
        """Every schema of values in the config, or the texts; either may come from any topic."""
        named = [(SchemaVersion(text), LocalSchema(text, output_id=-1)) for text in texts]
        known = [(SchemaVersion(s.input, label=s.label(n)), s) for n, s in self._schemas.items() if not s.key]
        return [Candidate(version, tuple(topics), later=self._others(own)) for version, own in named or known]

    def key_schemas(self, topics: Sequence[str]) -> Sequence[SchemaVersion]:
        """Every schema of keys in the config."""
        return [SchemaVersion(s.input, label=s.label(n)) for n, s in self._schemas.items() if s.key]

    def check(self) -> None:
        """Files were read when the config was; nothing can be away."""

    def close(self) -> None:
        """Nothing is open."""
