"""Record keys: pseudonyms that are equal for equal keys alone, and rows for keyed tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import Schema

from worker.avro import (
    DeclarationOptions,
    FieldOptions,
    LocalSchema,
    LocalSchemas,
    RegistrySchemas,
    decode_value,
    encode_value,
    frame,
)
from worker.avro.keys import KeySchema
from worker.encryption.pseudonym import PSEUDONYM_BYTES, Pseudonyms
from worker.errors import ConfigError, DeclarationError
from worker.model import Header, Position, SourceRecord, batch_of
from worker.pipeline.keys import KeyRules, RecordKeys

KEYSET = UUID(int=7)
TENANT: dict[str, Any] = {"name": "tenant", "type": "int"}
EMAIL: dict[str, Any] = {"name": "email", "type": "string", "encrypted": True}
DECLARED: list[dict[str, Any]] = [TENANT, EMAIL]
NULLABLE: list[dict[str, Any]] = [TENANT, {**EMAIL, "type": ["null", "string"], "default": None}]
CLEAR: list[dict[str, Any]] = [TENANT, {"name": "email", "type": "string"}]


def schema(fields: Sequence[dict[str, Any]]) -> str:
    return json.dumps({"type": "record", "name": "acme.Key", "fields": list(fields)})


def record(key: bytes | None, headers: Sequence[Header] = ()) -> SourceRecord:
    return SourceRecord(Position("people", 0, 0), key, b"", headers)


def made(secret: bytes = bytes(32), **options: Any) -> RecordKeys:
    # A record that declares nothing has a name of its own: what one of a name declares, all of that name do.
    local = {1: schema(DECLARED), 2: schema(NULLABLE), 3: schema(CLEAR).replace("acme.Key", "acme.Clear")}
    schemas = {i: LocalSchema(input=text, output_id=1000 + i, key=True) for i, text in local.items()}
    known = LocalSchemas({**schemas, 4: LocalSchema(input='"long"', output_id=1004, key=True)})
    source, declaration = options.pop("schemas", known), options.pop("declaration", DeclarationOptions())
    pseudonyms = options.pop("pseudonyms", lambda _name: Pseudonyms(KEYSET, secret))
    rules = KeyRules(**{"policy": "pseudonym", "subject": "out-key", **options})
    return RecordKeys(rules, source, declaration, pseudonyms=pseudonyms, route="r")


def key(fields: Sequence[dict[str, Any]], schema_id: int, **values: object) -> bytes:
    bare = [{k: v for k, v in field.items() if k != "encrypted"} for field in fields]
    return frame(schema_id) + encode_value(schema(bare), values)


def output(keys: RecordKeys, data: bytes) -> bytes:
    processed = keys.process(batch_of([record(data)]))
    assert processed.errors == {}
    assert processed.data is not None
    (found,) = processed.data
    assert found is not None
    return found


def test_a_declared_field_becomes_its_pseudonym_and_the_rest_stays() -> None:
    """The output is Avro of the derived schema: 32 bytes in the field's place, everything else as it was."""
    found = output(made(), key(DECLARED, 1, tenant=5, email="ada@example.org"))

    read = decode_value(KeySchema(schema(DECLARED), DeclarationOptions()).output_schema, found[5:])
    assert found[:5] == frame(1001)
    assert isinstance(read, dict)
    assert read["tenant"] == 5
    assert len(read["email"]) == PSEUDONYM_BYTES
    assert b"ada" not in found


def test_equal_keys_have_one_pseudonym_and_others_another() -> None:
    """It is stable over batches and processes; another value, another field's, another keyset's differ."""
    ada, value = key(DECLARED, 1, tenant=5, email="ada@example.org"), [b"\x1eada@example.org"]
    mine = output(made(), ada)[-PSEUDONYM_BYTES:]

    assert (
        mine == output(made(), ada)[-PSEUDONYM_BYTES:] == Pseudonyms(KEYSET, bytes(32)).of("acme.Key/email", value)[0]
    )
    others = [
        output(made(), key(DECLARED, 1, tenant=5, email="bob@example.org"))[-PSEUDONYM_BYTES:],
        output(made(secret=bytes(31) + b"\1"), ada)[-PSEUDONYM_BYTES:],
        *Pseudonyms(KEYSET, bytes(32)).of("acme.Key/name", value),
        *Pseudonyms(UUID(int=8), bytes(32)).of("acme.Key/email", value),
    ]
    assert len({mine, *others}) == 5


def test_the_output_schema_is_registered_for_the_sinks_keys() -> None:
    """Readers of the sink find its keys' schema under `<topic>-key`, declared fields as bytes with `pseudonym`."""
    schemas = RegistrySchemas({"url": "mock://pseudonyms"}, auto_register=True)
    number = schemas._client.register_schema("people-key", Schema(schema(DECLARED), "AVRO"))

    found = output(made(schemas=schemas), key(DECLARED, number, tenant=5, email="ada@example.org"))

    registered = schemas._client.get_latest_version("out-key")
    assert found[:5] == frame(registered.schema_id)
    email = json.loads(registered.schema.schema_str)["fields"][1]
    assert (email["type"], email["pseudonym"]["type"], "encrypted" in email) == ("bytes", "string", False)


def test_a_field_that_becomes_nullable_keeps_its_pseudonyms() -> None:
    """The null branch's index is no part of the value."""
    before = output(made(), key(DECLARED, 1, tenant=5, email="ada@example.org"))
    after = output(made(), key(NULLABLE, 2, tenant=5, email="ada@example.org"))

    assert after[-PSEUDONYM_BYTES:] == before[-PSEUDONYM_BYTES:]


def test_a_null_stays_a_null() -> None:
    """A null field of a key stays visible as one, as in values, and a null key stays a null key."""
    found = output(made(), key(NULLABLE, 2, tenant=5, email=None))

    assert found == frame(1002) + b"\x0a\x00"
    assert made().process(batch_of([record(None)])).data == [None]


@pytest.mark.parametrize(
    ("data", "prefix"),
    [(b"ada@example.org", b""), (b"\0ada", b""), (frame(4) + b"\x54", frame(1004) + b"\x40")],
)
def test_a_key_that_declares_nothing_is_replaced_whole(data: bytes, prefix: bytes) -> None:
    """Text, bytes without room for a schema id, and an Avro long become 32 bytes; the long's are Avro's."""
    found = output(made(), data)

    assert found[: len(prefix)] == prefix
    assert len(found) == len(prefix) + PSEUDONYM_BYTES


@pytest.mark.parametrize("policy", ["clear", "pseudonym"])
@pytest.mark.parametrize("form", ["auto", "avro"])
@pytest.mark.parametrize(
    ("data", "headers"),
    [(b"ada@example.org", [("__key_schema_id", b"\0\0\0\0\x63")]), (b"\0\0\0\0\x63ada", [])],
    ids=["header", "frame"],
)
def test_a_key_that_names_an_unknown_schema_is_refused(
    data: bytes, headers: list[Header], form: str, policy: str
) -> None:
    """What its schema declares nobody knows, so it is no plain key; only `key_format = "plain"` makes it one."""
    found = made(policy=policy, form=form).process(batch_of([record(data, headers)]))

    assert {i: error.code for i, error in found.errors.items()} == {0: "unknown_schema"}
    assert made(policy=policy, form="plain").process(batch_of([record(data, headers)])).errors == {}


def test_a_record_key_without_a_declaration_is_replaced_whole() -> None:
    """The operator asked for pseudonyms: nothing of the key is left because nobody declared a field of it."""
    found = output(made(), key(CLEAR, 3, tenant=5, email="ada@example.org"))

    assert found[:6] == frame(1003) + b"\x40"
    assert len(found) == 6 + PSEUDONYM_BYTES


def test_a_schema_named_in_a_header_frames_the_output() -> None:
    """The input's header is never copied, so the output key carries its schema's id in front."""
    bare = key(DECLARED, 1, tenant=5, email="ada@example.org")[5:]
    processed = made().process(batch_of([record(bare, [("__key_schema_id", frame(1))])]))

    assert processed.data == [output(made(), frame(1) + bare)]


def test_a_declaration_met_in_mid_stream_stops_a_clear_route() -> None:
    """A key's schema that no check had seen does not pass because its declaration came late."""
    with pytest.raises(DeclarationError, match=r'acme\.Key/email.*key = "pseudonym"'):
        made(policy="clear").process(batch_of([record(key(DECLARED, 1, tenant=5, email="ada@example.org"))]))


def test_a_binary_key_that_looks_framed_by_a_values_schema_is_plain_where_the_route_says_so() -> None:
    """A long as eight bytes can begin like the id of a local schema that is none of keys; `auto` can't tell."""
    values_only = LocalSchemas({1: LocalSchema(input=schema(DECLARED), output_id=1001)})
    long_key = (0x0000_0000_0100_0005).to_bytes(8, "big")

    plain, told_apart = (
        made(policy="clear", schemas=values_only, form=form).process(batch_of([record(long_key)]))
        for form in ("plain", "auto")
    )

    assert (plain.data, plain.errors) == (None, {})
    assert [error.code for error in told_apart.errors.values()] == ["unknown_schema"]


def test_a_policy_by_tag_counts_for_keys_too() -> None:
    """What the config maps a tag to protects a key's field as it does a value's."""
    tagged = [TENANT, {"name": "email", "type": "string", "confluent:tags": ["PII"]}]
    options = DeclarationOptions(tags={"PII": FieldOptions()})

    with pytest.raises(DeclarationError, match=r"acme\.Key/email"):
        KeySchema(schema(tagged), options).refuse_declarations()


@pytest.mark.parametrize(
    "field",
    [
        {**EMAIL, "encrypted": {"context": ["tenant"]}},
        {**EMAIL, "encrypted": {"bind": ["tenant"], "format": "leased"}},
        {**EMAIL, "type": {"type": "array", "items": "string"}},
        {**EMAIL, "type": ["null", {"type": "map", "values": "string"}]},
    ],
)
def test_what_a_pseudonym_cannot_keep_is_refused(field: dict[str, Any]) -> None:
    """Contexts and bound values have no place in it, and equal containers may have different bytes."""
    with pytest.raises(DeclarationError, match=r"acme\.Key/email"):
        KeySchema(schema([TENANT, field]), DeclarationOptions())


def test_a_broken_key_fails_alone() -> None:
    """A key that does not decode is an error of its record; its neighbours go on."""
    good = key(DECLARED, 1, tenant=5, email="ada@example.org")
    processed = made().process(batch_of([record(good), record(good[:-3]), record(good)]))

    assert list(processed.errors) == [1]
    assert processed.data is not None
    assert processed.data[0] is not None
    assert processed.data[0] == processed.data[2]


@pytest.mark.parametrize(
    ("data", "columns", "row"),
    [
        (
            key(CLEAR, 3, tenant=5, email="ada"),
            {"tenant": "tenant", "k_email": "email"},
            (5, "ada"),
        ),
        (frame(4) + b"\x54", {"id": "id"}, (42,)),
        (b"42", {"id": "id"}, None),
    ],
)
def test_a_clear_key_fills_the_key_columns(
    data: bytes, columns: dict[str, str], row: tuple[object, ...] | None
) -> None:
    """Fields by name, a single value as it is; plain text is left to the table, which knows the column's type."""
    processed = made(policy="clear", columns=columns).process(batch_of([record(data)]))

    assert {i: found.values for i, found in processed.rows.items()} == ({} if row is None else {0: row})
    assert processed.data is None


def test_a_pseudonym_fills_the_key_columns() -> None:
    """The table gets the very bytes that stand in the key."""
    columns = {"tenant": "tenant", "email": "email"}
    data = key(DECLARED, 1, tenant=5, email="ada@example.org")
    fields, whole = made(columns=columns), made(columns={"id": "id"})

    found = fields.process(batch_of([record(data)]))

    assert found.data is not None
    assert found.rows[0].values == (5, (found.data[0] or b"")[-PSEUDONYM_BYTES:])
    plain = whole.process(batch_of([record(b"ada")]))
    assert plain.data is not None
    assert plain.rows[0].values == (plain.data[0],)


@pytest.mark.parametrize("data", [key(CLEAR, 3, tenant=5, email="ada"), b"ada"])
def test_keys_that_lack_a_key_column_are_a_wrong_configuration(data: bytes) -> None:
    """A tombstone could not find its row."""
    with pytest.raises(ConfigError, match="country"):
        made(policy="clear", columns={"tenant": "tenant", "country": "country"}).process(batch_of([record(data)]))


def test_a_null_key_and_an_unknown_schema_fail_alone_in_a_keyed_table() -> None:
    """One such record is poison, not a reason to stop."""
    processed = made(policy="clear", columns={"id": "id"}).process(
        batch_of([record(None), record(frame(99) + b"\x54"), record(b"1")])
    )

    assert {i: error.code for i, error in processed.errors.items()} == {0: "decode_failed", 1: "unknown_schema"}
