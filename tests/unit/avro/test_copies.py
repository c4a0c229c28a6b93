"""A path policy that covers a named type at one of its uses."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import avro.io
import avro.schema
import fastavro
import pytest

from tests.unit.avro.test_codec import restored
from tests.unit.avro.test_declaration import field, refused, schema
from worker.avro import DeclarationOptions, FieldOptions, compile_schema, open_schema

ADDRESS = {"type": "record", "name": "Address", "aliases": ["Place"], "fields": [field("street"), field("city")]}
TWICE = schema(field("bill", ADDRESS), field("ship", "Address"))
BILL = DeclarationOptions(paths={"n.A/bill.street": FieldOptions()})
VALUE = {"bill": {"street": "secret street", "city": "b"}, "ship": {"street": "clear street", "city": "d"}}


def types(text: str, options: DeclarationOptions) -> dict[str, Any]:
    """The output type of each field of the root."""
    output = json.loads(compile_schema(text, options).plan.output_schema)
    return {f["name"]: f["type"] for f in output["fields"]}


def test_the_covered_use_becomes_a_copy_and_the_clear_one_keeps_its_name() -> None:
    """Only the covered use is encrypted and renamed, and the record and its schema come back as they were."""
    output, identities = restored(TWICE, VALUE, BILL)
    plan = compile_schema(TWICE, BILL).plan
    made = types(TWICE, BILL)

    assert identities == ["n.A/bill.street"]
    assert b"secret street" not in output
    assert b"clear street" in output
    assert re.fullmatch("Address_enc_[0-9a-f]{8}", made["bill"]["name"])
    assert "aliases" not in made["bill"]
    assert made["ship"]["name"] == "Address"
    written = open_schema(plan.output_schema).writer_schema
    assert json.loads(written) == json.loads(TWICE.replace('"type": "Address"', '"type": "n.Address"'))


def test_avro_and_fastavro_read_the_copy() -> None:
    """The output schema with a copy in it is one that both take."""
    output, _ = restored(TWICE, VALUE, BILL)
    text = compile_schema(TWICE, BILL).plan.output_schema

    theirs = avro.schema.parse(text)
    by_avro = avro.io.DatumReader(theirs, theirs).read(avro.io.BinaryDecoder(io.BytesIO(output)))
    by_fastavro = fastavro.schemaless_reader(io.BytesIO(output), json.loads(text), None)

    assert by_avro == by_fastavro
    assert isinstance(by_avro, dict)
    assert by_avro["ship"] == VALUE["ship"]


def test_the_copys_name_outlives_an_evolution_of_the_type() -> None:
    """A field added to the type, declared or not, leaves the name as it was; another policy does not."""
    more = {**ADDRESS, "fields": [*ADDRESS["fields"], field("zip", default="", encrypted=True)]}
    both = DeclarationOptions(paths={**BILL.paths, "n.A/bill.city": FieldOptions()})

    before = types(TWICE, BILL)["bill"]["name"]

    assert types(schema(field("bill", more), field("ship", "Address")), BILL)["bill"]["name"] == before
    assert types(TWICE, both)["bill"]["name"] != before


def test_uses_under_one_policy_share_a_type() -> None:
    """Where each use is covered alike nothing is split; two that differ from a third share one copy."""
    three = schema(field("bill", ADDRESS), field("ship", "Address"), field("home", "Address"))
    alike = DeclarationOptions(paths={f"n.A/{name}.street": FieldOptions() for name in ("bill", "home")})

    assert (
        types(TWICE, DeclarationOptions(paths={f"n.A/{n}.street": FieldOptions() for n in ("bill", "ship")}))["ship"]
        == "n.Address"
    )
    made = types(three, alike)
    assert made["home"] == f"n.{made['bill']['name']}"


def test_a_branch_of_a_union_keeps_its_identity() -> None:
    """The copy is known by its original's name, so a field within a branch is found again."""
    other = {"type": "record", "name": "Box", "fields": [field("no", "int")]}
    text = schema(field("to", [ADDRESS, other]), field("from", "Address"))
    options = DeclarationOptions(paths={"n.A/to<n.Address>.street": FieldOptions()})

    _, identities = restored(text, {"to": VALUE["bill"], "from": VALUE["ship"]}, options)

    assert identities == ["n.A/to<n.Address>.street"]


def test_a_recursive_type_is_split_with_all_that_leads_back_to_it() -> None:
    """Where types hold each other, each that can reach the covered field becomes a copy; the clear use reads clear."""
    leaf = {"type": "record", "name": "Y", "fields": [field("x", ["null", "X"])]}
    node = {"type": "record", "name": "X", "fields": [field("v"), field("y", ["null", leaf])]}
    options = DeclarationOptions(paths={"n.A/p.v": FieldOptions()})
    deep = {"v": "secret one", "y": {"x": {"v": "secret two", "y": None}}}
    clear = {"v": "clear one", "y": {"x": {"v": "clear two", "y": None}}}

    output, identities = restored(schema(field("p", node), field("q", "X")), {"p": deep, "q": clear}, options)

    assert identities == ["n.A/p.v"]
    assert b"secret" not in output
    assert output.count(b"clear") == 2


def test_types_that_hold_each_other_are_not_split_without_a_policy() -> None:
    """A declaration in the type itself holds at every use, so every use has one type."""
    inner = {"type": "record", "name": "B", "fields": [field("x", encrypted=True), field("a", ["null", "A"])]}

    assert types(schema(field("b1", inner), field("b2", "B")), DeclarationOptions())["b2"] == "n.B"


def test_the_copys_schema_passes_a_second_worker() -> None:
    """Under `already_encrypted = "pass"` a copy goes through as it is; without, its schema is refused."""
    text = compile_schema(TWICE, BILL).plan.output_schema

    passed = compile_schema(text, DeclarationOptions(already_encrypted="pass")).plan

    assert json.loads(passed.output_schema) == json.loads(text)
    assert "encrypt" in refused(text)


@pytest.mark.parametrize("told", [True, {"version": 1}, {"version": 2, "name": "n.B"}, {"version": 1, "name": "a..b"}])
def test_a_malformed_copy_is_refused(told: object) -> None:
    """`encryption` on a record says which record it is a copy of, or is refused."""
    inner = {"type": "record", "name": "B", "fields": [field("x")], "encryption": told}

    assert "n.B" in refused(schema(field("b", inner)), DeclarationOptions(already_encrypted="pass"))


def test_a_name_that_is_taken_is_refused() -> None:
    """A type of the schema that has the copy's name is named in the refusal."""
    copy = types(TWICE, BILL)["bill"]["name"]
    taken = {"type": "record", "name": copy, "fields": []}

    assert copy in refused(schema(field("bill", ADDRESS), field("ship", "Address"), field("t", taken)), BILL)
