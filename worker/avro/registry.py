"""Schemas from a registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from confluent_kafka.schema_registry import Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from worker.avro.frame import SchemaRef
from worker.avro.history import SchemaVersion, around
from worker.avro.registry_client import open_registry
from worker.avro.source import Candidate, Compatibility, RegisteredSchema, SchemaSource
from worker.errors import ConfigError, DeclarationError, RecordError, RegistryUnavailable
from worker.http_client import silence

# "Not found" as a registry says it of a subject, a version or a schema.
_NOT_FOUND = frozenset({40401, 40402, 40403})
_SUBJECTS = "its subjects"


class RegistrySchemas(SchemaSource):
    """
    A Confluent-compatible registry; what it once said of an id is kept for ever, since ids never change.

    Which other versions the id's subjects have is asked again: for every id as soon as one is met that was unknown.

    Args:
        conf: `SchemaRegistryClient`'s own keys (url, basic.auth.user.info, bearer.*, ssl.*).
        auto_register: register output schemas; otherwise they must be there already.
        refresh_s: how long the list of an id's other versions is believed otherwise.
        clock: monotonic seconds.

    Raises:
        ConfigError: a key or its value is none of the client's, or would send credentials over plain http.
    """

    def __init__(
        self,
        conf: Mapping[str, Any],
        *,
        auto_register: bool,
        refresh_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        opened = open_registry(conf)
        self._client: Any = opened.client
        self.addresses, self.proxy = opened.addresses, opened.proxy
        hosts = ", ".join(urlsplit(address).netloc.rpartition("@")[2] for address in opened.addresses)
        self._name = f"the schema registry at {hosts or 'its address'} ([schemas] registry)"
        self._auto_register = auto_register
        # The in-process registry has no call for the subjects of an id, and judges nothing.
        self._has_history = not str(conf.get("url", "")).startswith("mock://")
        self._refresh_s, self._clock, self._lock = refresh_s, clock, threading.Lock()
        self._until: dict[SchemaRef, float] = {}
        self._got: dict[SchemaRef, RegisteredSchema] = {}
        self._ids: dict[tuple[str, str], int] = {}

    def get(self, ref: SchemaRef) -> RegisteredSchema:
        """The schema with its references and tags, and the other versions of its subjects, asked for anew at times."""
        with self._lock:
            known = self._got.get(ref)
            if known is None:
                known = self._first(ref)
            elif self._clock() >= self._until.get(ref, 0.0):
                known = self._again(known)
            self._got[ref] = known
            return known

    def _first(self, ref: SchemaRef) -> RegisteredSchema:
        found = self._fetch(ref)
        if (found.schema_type or "AVRO") != "AVRO":
            raise RecordError(f"schema {ref} is {found.schema_type}, not Avro", code="unknown_schema")
        own = self._complete(found, str(ref))
        earlier, later = self._others(ref)
        # A version that was not known before may be one that an older one has to follow.
        self._until = {ref: self._clock() + self._refresh_s}
        return RegisteredSchema(ref, own.schema, own.references, own.metadata_tags, earlier, later)

    def _again(self, known: RegisteredSchema) -> RegisteredSchema:
        self._until[known.ref] = self._clock() + self._refresh_s
        try:
            others = self._others(known.ref)
        except RegistryUnavailable:
            # Nobody registers anything meanwhile; what is known goes on.
            return known
        if others == (known.earlier, known.later):
            return known
        return replace(known, earlier=others[0], later=others[1])

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

    def versions(self, subject: str) -> list[SchemaVersion]:
        """The Avro versions of a subject, oldest first; none where it is unknown."""
        return [version for _, version in self._numbered(subject)]

    def _numbered(self, subject: str) -> list[tuple[int, SchemaVersion]]:
        schemas = [(n, self._version(subject, n)) for n in self._versions(subject)]
        return [
            (n, replace(self._complete(schema, f"{subject} version {n}"), subject=subject))
            for n, schema in schemas
            if (schema.schema_type or "AVRO") == "AVRO"
        ]

    def _versions(self, subject: str) -> list[int]:
        try:
            return sorted(self._ask(subject, lambda: self._client.get_versions(subject)))
        except RecordError:
            return []

    def _others(self, ref: SchemaRef) -> tuple[tuple[SchemaVersion, ...], tuple[SchemaVersion, ...]]:
        """The earlier and the later versions of every subject that has the schema."""
        earlier: list[SchemaVersion] = []
        later: list[SchemaVersion] = []
        for number in self._numbers(ref) if self._has_history else ():
            versions = self._ask(f"schema {number}", partial(self._client.get_schema_versions, number))
            for subject, own in ((v.subject, v.version) for v in versions):
                numbered = self._numbered(subject)
                earlier += [version for n, version in numbered if n < own]
                later += [version for n, version in numbered if n > own]
        return tuple(earlier), tuple(later)

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
                found += [Candidate(SchemaVersion(text, label=label), (topic,), *around(known, text)) for text in texts]
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
                raise ConfigError(
                    f"{self._name} refuses these credentials ({status}); see [schemas] properties and secrets"
                ) from exc
            if status == 404 and (exc.error_code in _NOT_FOUND or what != _SUBJECTS):
                if exc.error_code not in _NOT_FOUND:
                    # A proxy's 404 would empty the topic; a registry without that endpoint knows its subjects.
                    self.check()
                raise RecordError(f"{self._name} does not know {what}", code="unknown_schema") from exc
            if status in (409, 422):
                raise DeclarationError(f"{self._name} refuses {what} ({status})") from exc
            path = "; is the path of its Confluent-compatible API in the URL?" if status == 404 else ""
            raise RegistryUnavailable(f"{self._name} answers {status} for {what}{path}") from exc
        except (OSError, TimeoutError) as exc:
            raise RegistryUnavailable(f"{self._name} does not answer: {silence(exc)}") from exc
        except Exception as exc:
            # The client lets its HTTP library's own errors through; whatever they are, no answer came.
            raise RegistryUnavailable(f"{self._name} does not answer: {silence(exc)}") from exc


def _tags(schema: Any) -> dict[str, tuple[str, ...]]:
    tags = schema.metadata.tags if schema.metadata is not None else None
    raw = getattr(tags, "tags", tags) or {}
    return {str(path): tuple(words) for path, words in dict(raw).items()}
