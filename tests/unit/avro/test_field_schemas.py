"""Schemas as other tools write them: accepted where the meaning is clear, refused where a declaration is in doubt."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from tests.unit.avro.test_declaration import field, refused, schema
from tests.unit.encryption.authority import InMemoryAuthority
from worker.avro import DeclarationOptions, SchemaVersion, compile_schema, encode_value, open_schema
from worker.avro.descriptors import default_descriptor
from worker.avro.references import in_order
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.errors import DeclarationError

NONE = DeclarationOptions()
SECRET = field("email", encrypted=True)


def warnings(text: str) -> tuple[str, ...]:
    return compile_schema(text, NONE).warnings


def round_trip(text: str, value: dict[str, Any]) -> object:
    """The value through seal and open, under the output schema."""
    compiled, keys = compile_schema(text, NONE), InMemoryAuthority()
    split = compiled.split([encode_value(json.dumps(clear(json.loads(text))), value)], [None])
    output = split.join(BatchEncryptor(keys).encrypt(split.columns).envelopes)
    opened = open_schema(compiled.plan.output_schema)
    back = opened.split([datum or b"" for datum in output], [None])
    found = BatchDecryptor(keys).decrypt(back.columns)
    assert not found.errors
    return opened.record(back.join([[v or b"" for v in c] for c in found.values])[0] or b"")


def clear(value: Any) -> Any:
    if isinstance(value, list):
        return [clear(v) for v in value]
    return {k: clear(v) for k, v in value.items() if k != "encrypted"} if isinstance(value, dict) else value


def test_a_clear_fields_default_that_does_not_fit_is_told() -> None:
    """Registries hold many; only where the field is declared is it a reason to refuse."""
    assert "n.A/n: the default" in " ".join(warnings(schema(field("n", "int", default="x"), SECRET)))
    assert "default" in refused(schema(field("n", "int", default="x", encrypted=True)))


def test_a_type_without_a_namespace_is_found_from_within_one() -> None:
    """Java refers to it by its bare name; input and output both read."""
    reference = json.dumps({"type": "enum", "name": "Status", "symbols": ["ON", "OFF"]})
    compiled = compile_schema(
        SchemaVersion(schema(field("s", "Status"), field("t", {"type": "Status"}), SECRET), (reference,)), NONE
    )

    assert [f.identity for f in open_schema(compiled.plan.output_schema).fields] == ["n.A/email"]


@pytest.mark.parametrize("name", ["$oid", "first-name", "a.b", "with space", "1st", "größe"])
def test_odd_field_names_pass_where_they_are_clear(name: str) -> None:
    """MongoDB's and Debezium's names are accepted and told, and the records come back."""
    text = schema(field(name, "int"), SECRET)

    assert any(repr(name) in warning for warning in warnings(text))
    assert round_trip(text, {name: 1, "email": "ann"}) == {name: 1, "email": "ann"}


def test_an_odd_namespace_holds_declared_fields() -> None:
    """A connector's prefix stands in the identity as it is."""
    text = json.dumps({"type": "record", "name": "Value", "namespace": "my-server.2nd.customers", "fields": [SECRET]})

    assert [f.identity for f in compile_schema(text, NONE).plan.fields] == ["my-server.2nd.customers.Value/email"]
    assert round_trip(text, {"email": "ann"}) == {"email": "ann"}


def test_a_name_that_can_not_stand_in_a_path_is_refused_where_it_is_declared() -> None:
    """`a.b` as one name would be another field's path; the message names the field."""
    assert "'a.b'" in refused(schema(field("a.b", encrypted=True)))
    inner = {"type": "record", "name": "I", "fields": [field("x", encrypted=True)]}
    assert "'a[]'" in refused(schema(field("a[]", inner)))


@pytest.mark.parametrize("before", ["\ufeff", "// made by hand\n", "/* licence */\n  ", "\ufeff // one\n/* two */ "])
def test_what_stands_before_the_json_is_skipped(before: str) -> None:
    """A byte-order mark and comments are no part of a schema."""
    assert compile_schema(before + schema(SECRET), NONE).plan.name == "n.A"


def test_an_enums_default_that_is_no_symbol_is_told() -> None:
    """It counts as none."""
    kind = {"type": "enum", "name": "K", "symbols": ["A"], "default": "Z"}

    assert any("n.K" in warning for warning in warnings(schema(field("k", kind), SECRET)))


def test_a_long_identity_has_a_descriptor_all_the_same() -> None:
    """Beyond 255 bytes the descriptor is the identity's hash, for writer and reader."""
    name = "n" * 300
    text = schema(field(name, encrypted=True))
    (plan,) = compile_schema(text, NONE).plan.fields

    assert (
        plan.descriptor
        == f"sha256:{hashlib.sha256(f'n.A/{name}'.encode()).hexdigest()}"
        == default_descriptor(plan.identity)
    )
    assert round_trip(text, {name: "ann"}) == {name: "ann"}


def test_a_descriptor_on_a_type_used_twice_tells_the_uses_apart() -> None:
    """The first use keeps it, so that a later one changes nothing; two fields that share one by hand are refused."""
    address = {"type": "record", "name": "Address", "fields": [field("street", encrypted={"descriptor": "street"})]}
    text = schema(field("bill", address), field("ship", "Address"))
    first, second = compile_schema(text, NONE).plan.fields

    assert first.descriptor == "street"
    assert second.descriptor == f"street#{hashlib.sha256(b'n.A/ship.street').hexdigest()[:16]}"
    value = {"bill": {"street": "one"}, "ship": {"street": "two"}}
    assert round_trip(text, value) == value
    one, two = (field(name, encrypted={"descriptor": "street"}) for name in ("a", "b"))
    assert "one descriptor" in refused(schema(one, two))


def test_references_are_put_in_order() -> None:
    """Whatever order files come in, each stands behind those it refers to; what is missing is named with its file."""
    inner = json.dumps({"type": "enum", "name": "n.Inner", "symbols": ["A"]})
    outer = json.dumps({"type": "record", "name": "n.Outer", "fields": [{"name": "i", "type": "n.Inner"}]})

    assert in_order({"outer.avsc": outer, "inner.avsc": inner}) == [inner, outer]
    with pytest.raises(DeclarationError, match=r"outer\.avsc.*n\.Inner"):
        in_order({"outer.avsc": outer})
