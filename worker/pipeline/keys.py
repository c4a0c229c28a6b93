"""Record keys: guarded while they pass in the clear, replaced by pseudonyms, and read for keyed tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from cachetools import TTLCache

from worker.avro import DeclarationOptions
from worker.avro.frame import KEY_HEADER, SchemaRef, frame, parse_frame
from worker.avro.keys import KeyColumns, KeySchema, plain_value
from worker.avro.reader import zigzag
from worker.avro.source import RegisteredSchema, SchemaSource
from worker.encryption.pseudonym import Pseudonyms
from worker.errors import ConfigError, DecodeError, RecordError
from worker.model import Batch, FieldPlan, Indexes
from worker.model.rows import ColumnType, Row, RowType

KeyPolicy = Literal["clear", "pseudonym"]
KeyFormat = Literal["auto", "avro", "plain"]
# Plain binary keys can look framed, each with another id: what is remembered of them must not grow for ever, nor last,
# since a registry may learn of an id later than a record that names it.
_UNKNOWN_IDS = 10_000
_UNKNOWN_S = 60.0
_DIGEST = RowType((ColumnType("", "bytes"),))


@dataclass(slots=True)
class Keys:
    """
    What became of a batch's keys, by place.

    Args:
        data: the keys as they are written, and as `$key` binds them; None where all are written as they are.
        rows: key columns of a table and their values; none for a key that is plain text, which the table reads.
        errors: why a record's key can't be used.
    """

    data: list[bytes | None] | None = field(default=None, repr=False)
    rows: dict[int, Row] = field(default_factory=dict, repr=False)
    errors: dict[int, RecordError] = field(default_factory=dict)

    def of(self, batch: Batch, indexes: Indexes) -> Sequence[bytes | None]:
        """Return the keys of the records at some places, of which `batch` is made."""
        if self.data is None:
            return batch.keys
        return [self.data[i] for i in indexes]


@dataclass(frozen=True, slots=True)
class _Known:
    """A key's schema, what stands before its keys when they are written, and what reads a table's columns from them."""

    registered: RegisteredSchema
    schema: KeySchema
    prefix: bytes
    columns: KeyColumns | None


@dataclass(slots=True)
class _Group:
    """The keys of one schema within a batch: where each stands, and where behind its frame it begins."""

    ref: SchemaRef
    indexes: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)

    def payloads(self, batch: Batch) -> list[bytes]:
        keys = batch.keys
        return [(keys[i] or b"")[start:] for i, start in zip(self.indexes, self.starts, strict=True)]


@dataclass(frozen=True, slots=True)
class KeyRules:
    """
    What a route does with its records' keys.

    Args:
        policy: `clear` writes keys as they are and refuses declarations in their schemas; `pseudonym` replaces every
            declared field, and a key that declares nothing, or has no schema, as a whole.
        form: `avro` keys have a schema id in front or in a header, `plain` ones have none, `auto` tells them apart; a
            key that names a schema nobody knows is refused.
        subject: under which output key schemas are registered; None keeps the input's id, as for a table.
        columns: a table's key columns and the key's fields that fill them.
    """

    policy: KeyPolicy = "clear"
    form: KeyFormat = "auto"
    subject: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


class RecordKeys:
    """
    Reads a route's record keys, and replaces what its rules say.

    Args:
        rules: the route's.
        schemas: key schemas by reference, and output ids.
        declaration: defaults and policies, as for values.
        pseudonyms: those of a keyset by name or uuid text; needed for `pseudonym`.
        route: the route's name.
    """

    def __init__(
        self,
        rules: KeyRules,
        schemas: SchemaSource,
        declaration: DeclarationOptions,
        *,
        pseudonyms: Callable[[str | None], Pseudonyms] | None = None,
        route: str,
    ) -> None:
        if rules.policy == "pseudonym" and pseudonyms is None:
            raise ConfigError(f'route {route}: key = "pseudonym" needs a keyset')
        self._route, self._schemas, self._declaration = route, schemas, declaration
        self._pseudonyms = pseudonyms if rules.policy == "pseudonym" else None
        self._form, self._subject, self._columns = rules.form, rules.subject, rules.columns
        self._known: dict[str, _Known] = {}
        self._unknown: MutableMapping[str, bool] = TTLCache(_UNKNOWN_IDS, _UNKNOWN_S)

    def process(self, batch: Batch) -> Keys:
        """
        Take a batch's keys.

        Raises:
            DeclarationError: a key's schema declares what this policy can't keep.
            ConfigError: keys of this schema lack the table's key columns.
            TransientError: the registry or the key service is away.
        """
        keys = Keys(list(batch.keys) if self._pseudonyms is not None else None)
        reads = self._pseudonyms is not None or bool(self._columns)
        if self._form == "plain":
            plain = list(range(len(batch))) if reads else []
        else:
            groups, plain = self._groups(batch, keys)
            for group in groups:
                self._take(group, batch, keys)
        if reads:
            self._take_plain(sorted(plain), batch, keys)
        return keys

    @property
    def replaces(self) -> bool:
        """Whether keys are written as pseudonyms."""
        return self._pseudonyms is not None

    def check_values(self, fields: Sequence[FieldPlan]) -> None:
        """Raise `ConfigError` where a value's encrypted field has the name of a key column, which holds the key."""
        for plan in fields:
            name = plan.identity.partition("/")[2]
            if name in self._columns:
                raise ConfigError(
                    f"route {self._route}: {plan.identity} is encrypted, and {name} is a key column; an encrypted "
                    "field can't be one: give the key's column another name (key_prefix)"
                )

    def _groups(self, batch: Batch, keys: Keys) -> tuple[list[_Group], list[int]]:
        """Part the keys by the schema they name; the others are plain, or errors where they must name one."""
        frames = batch.frames("key", KEY_HEADER)
        groups: dict[str, _Group] = {}
        for head, indexes in frames.groups.items():
            ref, start = parse_frame(head, ())
            group = groups.setdefault(str(ref), _Group(ref))
            group.indexes += indexes
            group.starts += [start] * len(indexes)
        for i in [*frames.named, *(frames.bare if self._form == "avro" else ())]:
            record = batch.record(i)
            try:
                ref, start = parse_frame(record.key or b"", record.headers, header=KEY_HEADER)
            except RecordError as exc:
                keys.errors[i] = exc
                continue
            group = groups.setdefault(str(ref), _Group(ref))
            group.indexes.append(i)
            group.starts.append(start)
        return list(groups.values()), [*(frames.bare if self._form == "auto" else ()), *frames.absent]

    def _take(self, group: _Group, batch: Batch, keys: Keys) -> None:
        known = self._schema(group.ref)
        if known is None:
            remedy = "" if self._form == "avro" else '; where keys only look framed, say key_format = "plain"'
            error = RecordError(f"the key's schema {group.ref} is unknown{remedy}", code="unknown_schema")
            keys.errors.update(dict.fromkeys(group.indexes, error))
            return
        if self._pseudonyms is None and not self._columns:
            return
        payloads: Sequence[bytes | None] = group.payloads(batch)
        if keys.data is not None:
            payloads = self._replaced(known, group, batch, keys)
            for i, payload in zip(group.indexes, payloads, strict=True):
                keys.data[i] = None if payload is None else known.prefix + payload
        if self._columns:
            for i, payload in zip(group.indexes, payloads, strict=True):
                if payload is not None:
                    self._read(known, payload, i, keys)

    def _schema(self, ref: SchemaRef) -> _Known | None:
        name = str(ref)
        if name in self._unknown:
            return None
        try:
            registered = self._schemas.get_key(ref)
        except RecordError:
            self._unknown[name] = True
            return None
        known = self._known.get(name)
        if known is None or known.registered is not registered:
            schema = KeySchema(
                registered.schema,
                self._declaration,
                references=registered.references,
                metadata_tags=registered.metadata_tags,
                earlier=registered.earlier,
                later=registered.later,
            )
            columns = self._key_columns(schema)
            known = self._known[name] = _Known(registered, schema, self._prefix(ref, schema), columns)
        return known

    def _key_columns(self, schema: KeySchema) -> KeyColumns | None:
        if not self._columns:
            return None
        try:
            return schema.columns(self._columns, pseudonymous=self._pseudonyms is not None)
        except ConfigError as exc:
            raise ConfigError(f"route {self._route}: {exc}") from exc

    def _prefix(self, ref: SchemaRef, schema: KeySchema) -> bytes:
        if self._pseudonyms is None:
            schema.refuse_declarations()
            return b""
        if self._subject is None:
            return frame(ref.id) if ref.id is not None else b"\1" + (ref.guid or b"")
        return frame(self._schemas.output_id(ref, self._subject, schema.written(True)))

    def _replaced(self, known: _Known, group: _Group, batch: Batch, keys: Keys) -> list[bytes | None]:
        assert self._pseudonyms is not None
        payloads = group.payloads(batch)
        if not known.schema.fields:
            topics = [batch.record(i).position.topic for i in group.indexes]
            return [zigzag(len(digest)) + digest for digest in map(self._whole, topics, payloads)]
        split = known.schema.split(payloads)
        keys.errors.update({group.indexes[i]: error for i, error in split.errors.items()})
        replaced = [
            self._pseudonyms(c.plan.keyset).of(c.plan.descriptor, [plain_value(c.plan, value) for value in c.values])
            for c in split.columns
        ]
        return split.join(replaced)

    def _whole(self, topic: str, key: bytes) -> bytes:
        assert self._pseudonyms is not None
        return self._pseudonyms(self._declaration.keyset).of(f"key/{topic}", [key])[0]

    def _read(self, known: _Known, payload: bytes, i: int, keys: Keys) -> None:
        assert known.columns is not None
        try:
            keys.rows[i] = known.columns.row(payload)
        except RecordError as exc:
            keys.errors[i] = exc

    def _take_plain(self, plain: Sequence[int], batch: Batch, keys: Keys) -> None:
        for i in plain:
            key = batch.keys[i]
            if key is None:
                if self._columns:
                    keys.errors[i] = DecodeError("a record without a key has no row of its own in a keyed table")
                continue
            column = self._only_column() if self._columns else ""
            if keys.data is not None:
                keys.data[i] = digest = self._whole(batch.record(i).position.topic, key)
                if column:
                    keys.rows[i] = Row(_DIGEST, (digest,))

    def _only_column(self) -> str:
        if len(self._columns) != 1:
            raise ConfigError(
                f"route {self._route}: the record key is one value and can't fill {', '.join(self._columns)}; "
                "use keys with these fields, or one key column"
            )
        return next(iter(self._columns))
