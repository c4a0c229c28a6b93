"""Which schema a message was written with, and where schemas come from: a registry, or files the operator names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from worker.errors import ConfigError, DeclarationError, DecodeError, RecordError, RegistryUnavailable
from worker.model import Header

VALUE_HEADER = "__value_schema_id"
KEY_HEADER = "__key_schema_id"


@dataclass(frozen=True, slots=True)
class SchemaRef:
    """A schema's number, or its GUID (16 bytes), as a message names it."""

    id: int | None = None
    guid: bytes | None = None

    def __str__(self) -> str:
        return str(UUID(bytes=self.guid)) if self.guid is not None else str(self.id)


def parse_frame(value: bytes, headers: Sequence[Header], *, header: str = VALUE_HEADER) -> tuple[SchemaRef, int]:
    """
    Read Confluent's frame: `00 | id 4` or `01 | guid 16`, in a header (keys: `__key_schema_id`) or before the payload.

    Returns:
        the reference, and where in `value` the payload starts.

    Raises:
        DecodeError: neither (code `bad_magic`).
    """
    told = next((content for name, content in reversed(headers) if name == header), None)
    if told is not None:
        ref, length = _frame(told)
        if length != len(told):
            raise DecodeError(f"the header {header} has bytes behind its schema id", code="bad_magic")
        return ref, 0
    return _frame(value)


def _frame(data: bytes) -> tuple[SchemaRef, int]:
    if data[:1] == b"\0" and len(data) >= 5:
        return SchemaRef(id=int.from_bytes(data[1:5], "big")), 5
    if data[:1] == b"\1" and len(data) >= 17:
        return SchemaRef(guid=bytes(data[1:17])), 17
    raise DecodeError("the message does not begin with a schema id (magic byte 0 or 1)", code="bad_magic")


def frame(schema_id: int) -> bytes:
    """The five bytes before a payload."""
    return b"\0" + schema_id.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class RegisteredSchema:
    """
    A schema with what it needs to be compiled.

    Args:
        ref: how messages name it.
        schema: JSON text.
        references: texts of the schemas it refers to, in their order of dependence.
        metadata_tags: path pattern to tags, from the registry's metadata.
        earlier: texts of the subject's earlier versions that stand without references, oldest first.
    """

    ref: SchemaRef
    schema: str
    references: tuple[str, ...] = ()
    metadata_tags: dict[str, tuple[str, ...]] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()


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

    def history(self, topic: str) -> tuple[str, ...]:
        """Texts of the schemas known for a topic's values, oldest first. Raises `RegistryUnavailable`."""
        ...

    def check(self) -> None:
        """Raise `RegistryUnavailable` or `ConfigError` where the source can't be used."""
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

    def history(self, topic: str) -> tuple[str, ...]:
        """Every schema of values in the config: which topic each is for it does not say."""
        return tuple(schema.input for schema in self._schemas.values() if not schema.key)

    def check(self) -> None:
        """Files were read when the config was; nothing can be away."""


class RegistrySchemas(SchemaSource):
    """
    A Confluent-compatible registry; what it once said of an id is kept for ever, since ids never change.

    Args:
        conf: `SchemaRegistryClient`'s own keys (url, basic.auth.user.info, bearer.*, ssl.*).
        auto_register: register output schemas; otherwise they must be there already.
    """

    def __init__(self, conf: Mapping[str, Any], *, auto_register: bool) -> None:
        try:
            # `new_client` also knows the in-process registry (`mock://`).
            self._client: Any = SchemaRegistryClient.new_client(dict(conf))
        except (ValueError, TypeError) as exc:
            raise ConfigError(f"[schemas] registry: {exc}") from exc
        self._auto_register = auto_register
        # The in-process registry has no call for the subjects of an id.
        self._has_history = not str(conf.get("url", "")).startswith("mock://")
        self._got: dict[SchemaRef, RegisteredSchema] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema with its references, tags and the subject's earlier versions."""
        if ref not in self._got:
            schema = self._fetch(ref)
            if (schema.schema_type or "AVRO") != "AVRO":
                raise RecordError(f"schema {ref} is {schema.schema_type}, not Avro", code="unknown_schema")
            earlier = self._earlier(ref.id) if ref.id is not None and self._has_history else ()
            self._got[ref] = RegisteredSchema(
                ref, schema.schema_str, tuple(self._references(schema, set())), _tags(schema), earlier
            )
        return self._got[ref]

    def _fetch(self, ref: SchemaRef) -> Any:
        if ref.guid is not None:
            guid = str(UUID(bytes=ref.guid))
            return self._ask(f"schema {ref}", lambda: self._client.get_schema_by_guid(guid))
        return self._ask(f"schema {ref}", lambda: self._client.get_schema(ref.id))

    def _references(self, schema: Any, seen: set[tuple[str, int]]) -> list[str]:
        texts: list[str] = []
        for reference in schema.references or []:
            key = (reference.subject, reference.version)
            if key not in seen:
                seen.add(key)
                inner = self._version(*key)
                texts += [*self._references(inner, seen), inner.schema_str]
        return texts

    def _version(self, subject: str, version: int) -> Any:
        return self._ask(f"{subject} version {version}", lambda: self._client.get_version(subject, version)).schema

    def _earlier(self, schema_id: int) -> tuple[str, ...]:
        versions = self._ask(f"schema {schema_id}", lambda: self._client.get_schema_versions(schema_id))
        texts: list[str] = []
        for subject, latest in ((v.subject, v.version) for v in versions):
            numbers = self._ask(subject, partial(self._client.get_versions, subject))
            schemas = [self._version(subject, n) for n in sorted(numbers) if n < latest]
            texts += [schema.schema_str for schema in schemas if not schema.references]
        return tuple(dict.fromkeys(texts))

    def output_id(self, ref: SchemaRef, subject: str, output_schema: str) -> int:
        """Register the output schema once it is compatible, or look it up."""
        key = (subject, output_schema)
        if key not in self._ids:
            self._ids[key] = self._register(subject, Schema(output_schema, "AVRO"))
        return self._ids[key]

    def _register(self, subject: str, schema: Schema) -> int:
        if not self._auto_register:
            try:
                found = self._ask(subject, lambda: self._client.lookup_schema(subject, schema))
            except RecordError as exc:
                raise DeclarationError(f"{subject} lacks this output schema, and auto_register is off") from exc
            return int(found.schema_id)
        try:
            # The in-process registry can't judge compatibility.
            compatible = not self._has_history or self._ask(
                subject, lambda: self._client.test_compatibility(subject, schema)
            )
        except RecordError:
            compatible = True  # The subject has no version yet.
        if not compatible:
            raise DeclarationError(f"the output schema is not compatible with the latest version of {subject}")
        return int(self._ask(subject, lambda: self._client.register_schema(subject, schema)))

    def key_schema(self, topic: str) -> str | None:
        """Return the latest Avro schema of a topic's keys, None where none is registered."""
        subject = f"{topic}-key"
        try:
            latest = self._ask(subject, lambda: self._client.get_latest_version(subject)).schema
        except RecordError:
            return None
        return str(latest.schema_str) if (latest.schema_type or "AVRO") == "AVRO" else None

    def history(self, topic: str) -> tuple[str, ...]:
        """Every version of the subject `<topic>-value` that stands without references; none where there is none."""
        subject = f"{topic}-value"
        try:
            numbers = self._ask(subject, lambda: self._client.get_versions(subject))
        except RecordError:
            return ()
        schemas = [self._version(subject, number) for number in sorted(numbers)]
        return tuple(dict.fromkeys(s.schema_str for s in schemas if not s.references))

    def check(self) -> None:
        """Ask the registry for its subjects."""
        self._ask("its subjects", self._client.get_subjects)

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except SchemaRegistryError as exc:
            status = exc.http_status_code
            if status in (401, 403):
                raise ConfigError(f"the schema registry refuses these credentials ({status})") from exc
            if status == 404:
                raise RecordError(f"the schema registry does not know {what}", code="unknown_schema") from exc
            if status in (409, 422):
                raise DeclarationError(f"the schema registry refuses {what} ({status})") from exc
            raise RegistryUnavailable(f"the schema registry answers {status} for {what}") from exc
        except (OSError, TimeoutError) as exc:
            raise RegistryUnavailable(f"the schema registry does not answer: {type(exc).__name__}") from exc
        except Exception as exc:
            # The client lets its HTTP library's own errors through; whatever they are, no answer came.
            raise RegistryUnavailable(f"the schema registry does not answer: {type(exc).__name__}") from exc


def _tags(schema: Any) -> dict[str, tuple[str, ...]]:
    tags = schema.metadata.tags if schema.metadata is not None else None
    raw = getattr(tags, "tags", tags) or {}
    return {str(path): tuple(words) for path, words in dict(raw).items()}
