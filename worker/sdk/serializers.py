"""Serializers in confluent-kafka's protocol: programs read and write encrypted topics the way they already do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, TypedDict, Unpack
from uuid import UUID

from confluent_kafka.schema_registry import Schema, topic_subject_name_strategy
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import Deserializer, MessageField, SerializationContext, Serializer

from worker.avro import frame, parse_frame
from worker.avro.frame import KEY_HEADER, VALUE_HEADER, SchemaRef
from worker.errors import ConfigError, RecordError, RegistryUnavailable
from worker.http_client import silence
from worker.sdk import checked
from worker.sdk.client import Encryption
from worker.sdk.records import declared
from worker.sdk.regions import Regions

Subject = Callable[[SerializationContext, str], str]
ToDict = Callable[[Any, SerializationContext], Mapping[str, object]]
FromDict = Callable[[Mapping[str, object], SerializationContext], Any]
_GUID = b"\x01"


class SerializerOptions(TypedDict, total=False):
    """
    How records are written.

    Args:
        to_dict: turns the program's objects into dicts.
        auto_register: register the output schema (the default); otherwise it must be there already.
        subject: names the subject, by topic and record name; `<topic>-value` by default.
        schema_id: `frame` (the default) puts the id before the record, `header` its GUID into `__value_schema_id`.
    """

    to_dict: ToDict | None
    auto_register: bool
    subject: Subject | None
    schema_id: Literal["frame", "header"]


class KeyedContext(SerializationContext):
    """A `SerializationContext` that knows its record's key, which a field may bind (`$key`)."""

    def __init__(self, topic: str, field: MessageField, headers: Any = None, *, key: bytes | None = None) -> None:
        super().__init__(topic, field, headers)
        self.key = key


class EncryptedAvroSerializer(Serializer):
    """
    Writes records as the worker does: the declared fields encrypted, framed by the output schema's id.

    The output schema is registered under its subject at the first record, or looked up there. Thread-safe.

    Args:
        registry: the schema registry's client.
        encryption: as whom keys are asked for; a lease serves up to a million values for 60 s.
        schema: the input schema with its declarations, JSON text.
        options: `SerializerOptions`.

    Raises:
        DeclarationError: the schema declares what can't be kept, or nothing.
    """

    def __init__(
        self,
        registry: Any,
        encryption: Encryption,
        schema: str,
        **options: Unpack[SerializerOptions],
    ) -> None:
        _expect_known(options)
        _expect_registry(registry)
        if not isinstance(encryption, Encryption):
            told = "regions['eu-central-1']" if isinstance(encryption, Regions) else "an Encryption"
            raise ConfigError(f"encryption is one region's client, {told}, not a {type(encryption).__name__}")
        schema_id, subject = options.get("schema_id", "frame"), options.get("subject")
        if schema_id not in ("frame", "header"):
            raise ConfigError(f"schema_id is 'frame' or 'header', not {schema_id!r}")
        self._plan = declared(schema).plan
        self._registry, self._encryption, self._schema = registry, encryption, schema
        self._to_dict, self._auto_register = options.get("to_dict"), options.get("auto_register", True)
        self._subject: Any = topic_subject_name_strategy if subject is None else subject
        self._in_header = schema_id == "header"
        self._known: dict[str, tuple[int, UUID | None]] = {}
        self._registering = threading.Lock()

    def __call__(self, obj: Any, ctx: SerializationContext | None = None) -> bytes | None:
        """
        Return one record's framed datum; None stays None, a tombstone.

        Raises:
            RecordError: the object is none of the schema.
            RegistryUnavailable: the registry does not answer.
            KeyAccessDenied, KeyServiceUnavailable: as `Encryption.encrypt_record`.
        """
        if obj is None:
            return None
        if not isinstance(ctx, SerializationContext):
            raise ConfigError(
                'the serializer needs a context: SerializationContext("customers.enc", MessageField.VALUE)'
            )
        record = obj if self._to_dict is None else self._to_dict(obj, ctx)
        number, guid = self._id(self._subject(ctx, self._plan.name))
        datum = self._encryption.encrypt_record(record, schema=self._schema, key=getattr(ctx, "key", None))
        if not self._in_header:
            return frame(number) + datum
        if guid is None:
            raise ConfigError("the registry gives schemas no GUID, which a header needs: use schema_id='frame'")
        _add_header(ctx, _header(ctx), _GUID + guid.bytes)
        return datum

    def _id(self, subject: str) -> tuple[int, UUID | None]:
        with self._registering:
            if subject not in self._known:
                self._known[subject] = self._registered(subject)
            return self._known[subject]

    def _registered(self, subject: str) -> tuple[int, UUID | None]:
        schema = Schema(self._plan.output_schema, "AVRO")
        try:
            if self._auto_register:
                found = self._registry.register_schema_full_response(subject, schema)
            else:
                found = self._registry.lookup_schema(subject, schema)
        except Exception as exc:
            raise _verdict(exc, f"the output schema of {self._plan.name} under {subject}") from exc
        guid = getattr(found, "guid", None)
        return int(found.schema_id), None if guid is None else UUID(str(guid))


class EncryptedAvroDeserializer(Deserializer):
    """
    Reads records as the worker, or an `EncryptedAvroSerializer`, wrote them; thread-safe.

    Args:
        registry: the schema registry's client.
        encryption: as whom keys are asked for: an `Encryption`, or `Regions`, which then need `region`.
        from_dict: turns dicts into the program's objects.
        clear: names of records that may have nothing encrypted, as the route's `clear`.
        region: whose topics are read; an envelope of another region's keyset is refused.
    """

    def __init__(
        self,
        registry: Any,
        encryption: Encryption | Regions,
        *,
        from_dict: FromDict | None = None,
        clear: Collection[str] = (),
        region: str | None = None,
    ) -> None:
        _expect_registry(registry)
        if not isinstance(encryption, Encryption | Regions):
            raise ConfigError(f"encryption is an Encryption, or Regions, not a {type(encryption).__name__}")
        if isinstance(encryption, Regions):
            if region is None:
                raise ConfigError("say whose topics are read: EncryptedAvroDeserializer(..., region='eu-central-1')")
            self._read = encryption.reader(region)
        else:
            self._read = encryption.restored_one
        self._registry, self._from_dict, self._clear = registry, from_dict, checked.names(clear, "clear")
        self._schemas: dict[SchemaRef, str] = {}
        self._asking = threading.Lock()

    def __call__(self, value: bytes | None, ctx: SerializationContext | None = None) -> Any:
        """
        Return one record's values, or what `from_dict` makes of them; None stays None.

        Raises:
            DecodeError: the message has no schema id, or is cut short.
            DeclarationError: its schema has no `encryption`.
            DecryptionError, KeyAccessDenied, KeyServiceUnavailable: as `Encryption.decrypt_record`.
            RegistryUnavailable: the registry does not answer.
        """
        if value is None:
            return None
        ref, start = parse_frame(value, _pairs(ctx), header=_header(ctx))
        record = self._read(value[start:], self._schema(ref), getattr(ctx, "key", None), self._clear)
        return record if self._from_dict is None or ctx is None else self._from_dict(record, ctx)

    def _schema(self, ref: SchemaRef) -> str:
        with self._asking:
            if ref not in self._schemas:
                self._schemas[ref] = self._fetched(ref)
            return self._schemas[ref]

    def _fetched(self, ref: SchemaRef) -> str:
        try:
            if ref.guid is not None:
                found = self._registry.get_schema_by_guid(str(ref))
            else:
                found = self._registry.get_schema(ref.id)
        except Exception as exc:
            raise _verdict(exc, f"schema {ref}") from exc
        return str(found.schema_str)


def _pairs(ctx: SerializationContext | None) -> list[tuple[str, bytes | None]]:
    headers = None if ctx is None else ctx.headers
    pairs = headers.items() if isinstance(headers, Mapping) else headers or []
    return [(name, value.encode() if isinstance(value, str) else value) for name, value in pairs]


def _header(ctx: SerializationContext | None) -> str:
    return KEY_HEADER if ctx is not None and ctx.field == MessageField.KEY else VALUE_HEADER


def _add_header(ctx: SerializationContext, name: str, value: bytes) -> None:
    if isinstance(ctx.headers, dict):
        ctx.headers[name] = value
    elif isinstance(ctx.headers, list):
        ctx.headers[:] = [pair for pair in ctx.headers if pair[0] != name] + [(name, value)]
    else:
        raise ConfigError("schema_id='header' needs the context's headers: SerializationContext(topic, field, headers)")


def _expect_known(options: Mapping[str, object]) -> None:
    unknown = sorted(options.keys() - SerializerOptions.__annotations__.keys())
    if unknown:
        known = ", ".join(SerializerOptions.__annotations__)
        raise ConfigError(f"the serializer has no option {', '.join(unknown)}; it has {known}")


def _expect_registry(registry: object) -> None:
    if not hasattr(registry, "get_schema"):
        raise ConfigError(f"registry is a SchemaRegistryClient, not a {type(registry).__name__}")


def _verdict(exc: Exception, what: str) -> Exception:
    if not isinstance(exc, SchemaRegistryError):
        # The client lets its HTTP library's own errors through; whatever they are, no answer came.
        return RegistryUnavailable(f"{what}: the registry does not answer: {silence(exc)}")
    if exc.http_status_code == 404 or 40400 <= exc.error_code < 40500:
        return RecordError(f"{what} is not in the registry", code="unknown_schema")
    if exc.http_status_code >= 500 or exc.http_status_code == 429:
        return RegistryUnavailable(f"{what}: the registry answers {exc.http_status_code}")
    return ConfigError(f"{what}: the registry refuses it ({exc.http_status_code}, {exc.error_code})")
