"""Schemas from a registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from uuid import UUID

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from worker.avro.frame import SchemaRef
from worker.avro.history import SchemaVersion
from worker.avro.source import Candidate, Compatibility, RegisteredSchema, SchemaSource
from worker.errors import ConfigError, DeclarationError, RecordError, RegistryUnavailable

# Of the registry's client: it waits without end, and its own retries would hide an outage from the route.
_DEFAULTS: Mapping[str, Any] = {"timeout": 10.0, "max.retries": 0}
# "Not found" as a registry says it of a subject, a version or a schema.
_NOT_FOUND = frozenset({40401, 40402, 40403})
_SUBJECTS = "its subjects"


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
            self._client: Any = SchemaRegistryClient.new_client({**_DEFAULTS, **conf})
        except (ValueError, TypeError) as exc:
            raise ConfigError(f"[schemas] registry: {exc}") from exc
        self._auto_register = auto_register
        # The in-process registry has no call for the subjects of an id, and judges nothing.
        self._has_history = not str(conf.get("url", "")).startswith("mock://")
        self._got: dict[SchemaRef, RegisteredSchema] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema with its references, tags and the subject's earlier versions."""
        if ref not in self._got:
            found = self._fetch(ref)
            if (found.schema_type or "AVRO") != "AVRO":
                raise RecordError(f"schema {ref} is {found.schema_type}, not Avro", code="unknown_schema")
            own = self._complete(found, str(ref))
            earlier = tuple(self._earlier(ref)) if self._has_history else ()
            self._got[ref] = RegisteredSchema(ref, own.schema, own.references, own.metadata_tags, earlier)
        return self._got[ref]

    def _fetch(self, ref: SchemaRef) -> Any:
        if ref.guid is not None:
            guid = str(UUID(bytes=ref.guid))
            return self._ask(f"schema {ref}", lambda: self._client.get_schema_by_guid(guid))
        return self._ask(f"schema {ref}", lambda: self._client.get_schema(ref.id))

    def _complete(self, schema: Any, label: str) -> SchemaVersion:
        return SchemaVersion(schema.schema_str, tuple(self._references(schema, set())), _tags(schema), label)

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

    def versions(self, subject: str, *, before: int | None = None) -> list[SchemaVersion]:
        """The Avro versions of a subject, oldest first, up to but without `before`; none where it is unknown."""
        schemas = [(n, self._version(subject, n)) for n in self._versions(subject) if before is None or n < before]
        return [
            self._complete(schema, f"{subject} version {n}")
            for n, schema in schemas
            if (schema.schema_type or "AVRO") == "AVRO"
        ]

    def _versions(self, subject: str) -> list[int]:
        try:
            return sorted(self._ask(subject, lambda: self._client.get_versions(subject)))
        except RecordError:
            return []

    def _earlier(self, ref: SchemaRef) -> Iterator[SchemaVersion]:
        for number in self._numbers(ref):
            versions = self._ask(f"schema {number}", partial(self._client.get_schema_versions, number))
            for subject, own in ((v.subject, v.version) for v in versions):
                yield from self.versions(subject, before=own)

    def _numbers(self, ref: SchemaRef) -> list[int]:
        """The numbers of a schema: its own, or those its GUID has in each context of the registry."""
        if ref.guid is None:
            return [] if ref.id is None else [ref.id]
        try:
            # The client has no method for this endpoint of the registry.
            ids = self._ask(f"the ids of {ref}", lambda: self._client._rest_client.get(f"schemas/guids/{ref}/ids"))
        except RecordError:
            ids = []
        if not ids:
            raise DeclarationError(
                f"the registry has no id for schema {ref}, so its earlier versions can't be compared"
            )
        return [int(found["id"]) for found in ids]

    def output_id(self, ref: SchemaRef, subject: str, output_schema: str) -> int:
        """Register the output schema once it is compatible, or look it up."""
        key, schema = (subject, output_schema), Schema(output_schema, "AVRO")
        if key not in self._ids:
            number = self._registered(subject, schema)
            if number is None:
                self.refuse_output(subject, output_schema)
                number = int(self._ask(subject, lambda: self._client.register_schema(subject, schema)))
            self._ids[key] = number
        return self._ids[key]

    def refuse_output(self, subject: str, output_schema: str) -> None:
        """Raise `DeclarationError` where `output_id` would; nothing is registered."""
        verdict = self.compatibility(subject, output_schema)
        if verdict is not Compatibility.REGISTERED and not self._auto_register:
            raise DeclarationError(f"{subject} lacks this output schema, and auto_register is off")
        if verdict is Compatibility.INCOMPATIBLE:
            raise DeclarationError(f"the output schema is not compatible with the latest version of {subject}")

    def compatibility(self, subject: str, output_schema: str) -> Compatibility:
        """What the registry says of an output schema; nothing is registered."""
        schema = Schema(output_schema, "AVRO")
        if self._registered(subject, schema) is not None:
            return Compatibility.REGISTERED
        if not self._has_history:
            return Compatibility.UNJUDGED
        if not self._versions(subject):
            return Compatibility.FIRST
        compatible = self._ask(subject, lambda: self._client.test_compatibility(subject, schema))
        return Compatibility.COMPATIBLE if compatible else Compatibility.INCOMPATIBLE

    def _registered(self, subject: str, schema: Schema) -> int | None:
        try:
            return int(self._ask(subject, lambda: self._client.lookup_schema(subject, schema)).schema_id)
        except RecordError:
            return None

    def candidates(self, topics: Sequence[str], texts: Sequence[str] = ()) -> Sequence[Candidate]:
        """The latest version of each topic's subject, or the texts against every version of each."""
        found = []
        for topic in topics:
            known = tuple(self.history(topic))
            label = f"schema of {topic}"
            if texts:
                found += [Candidate(SchemaVersion(text, label=label), (topic,), known) for text in texts]
            elif known:
                found.append(Candidate(replace(known[-1], label=label), (topic,), known[:-1]))
        return found

    def key_schemas(self, topics: Sequence[str]) -> Sequence[SchemaVersion]:
        """The latest Avro schema of each topic's keys, where one is registered."""
        found = []
        for topic in topics:
            subject = f"{topic}-key"
            try:
                latest = self._ask(subject, partial(self._client.get_latest_version, subject)).schema
            except RecordError:
                continue
            if (latest.schema_type or "AVRO") == "AVRO":
                found.append(SchemaVersion(str(latest.schema_str), label=topic))
        return found

    def history(self, topic: str) -> Sequence[SchemaVersion]:
        """Every version of the subject `<topic>-value`; none where there is none."""
        return self.versions(f"{topic}-value")

    def check(self) -> None:
        """Ask the registry for its subjects."""
        self._ask(_SUBJECTS, self._client.get_subjects)

    def close(self) -> None:
        """Close the connections to the registry."""
        self._client.close()

    def _ask(self, what: str, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except SchemaRegistryError as exc:
            status = exc.http_status_code
            if status in (401, 403):
                raise ConfigError(f"the schema registry refuses these credentials ({status})") from exc
            if status == 404 and (exc.error_code in _NOT_FOUND or what != _SUBJECTS):
                if exc.error_code not in _NOT_FOUND:
                    # A proxy's 404 would empty the topic; a registry without that endpoint knows its subjects.
                    self.check()
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
