"""What people give in a schema's place: each is told by what it is, and what to do."""

from __future__ import annotations

import json
import re

import pytest

from worker.avro import DeclarationOptions, compile_schema
from worker.errors import DeclarationError

GOOD = """{"type": "record", "name": "A", "fields": [
  {"name": "s", "type": "string", "encrypted": true},
  {"name": "n", "type": "long"}
]}"""
IDL = '@namespace("acme.crm")\nprotocol Crm {\n  record A { long n; @encrypted(true) string s; }\n}\n'


def refused(text: str) -> str:
    with pytest.raises(DeclarationError) as caught:
        compile_schema(text, DeclarationOptions(clear=()))
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "empty"),
        ("\ufeff \n", "empty"),
        (IDL, "Avro IDL: `avro-tools idl2schemata"),
        (f"/** Licensed. */\n// of acme\n{IDL}", "Avro IDL"),
        ("namespace acme.crm;\nschema A;\nrecord A { long n; }", "Avro IDL"),
        ('syntax = "proto3";\nmessage A { int64 n = 1; }', "Protobuf"),
        ("<!DOCTYPE html><html></html>", "HTML"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("# ours\ntype: record\nname: A\nfields: []\n", "YAML"),
        ("---\ntype: record\n", "YAML"),
        (GOOD.encode("utf-16-le").decode(), "UTF-16"),
        (GOOD.replace('"', "'"), "single quotes"),
        (GOOD.replace("true", "True"), "line 2 column 48 .* true, false and null"),
        (GOOD.replace("\n]}", ",\n]}"), "comma before a closing bracket"),
        (GOOD.replace("]}", "],\n}"), "comma before a closing bracket"),
        (f"{GOOD}\n{GOOD}", "one schema"),
        (GOOD[:60], "not JSON"),
        (json.dumps(GOOD), "JSON twice"),
        (f'{{"protocol": "Crm", "types": [{GOOD}], "messages": {{}}}}', r"Avro protocol: write each type \(A\)"),
        (json.dumps({"subject": "a-value", "id": 1, "schema": GOOD}), "registry's answer: .* `schema`"),
        (f'{{"schema": {GOOD}}}', "registry's answer"),
        ('{"$schema": "http://json-schema.org/schema#", "type": "object"}', "JSON Schema"),
        ("{}", "`type`"),
        (GOOD.replace('"long"', '["long", {"type": "long", "logicalType": "date"}]'), "long stands twice, whatever"),
        (GOOD.replace('"long"', '["null", ["long"]]'), "none a union"),
        (GOOD.replace('"long"', "[]"), "here is none"),
        (
            GOOD.replace('"long"', '{"type": "enum", "name": "E", "symbols": ["A", "A"]}'),
            "E: the symbol 'A' stands twice",
        ),
        (GOOD.replace('"long"', '{"type": "enum", "name": "E", "symbols": ["N-A"]}'), "E: the symbol 'N-A' is no name"),
        (GOOD.replace('"long"', '{"type": "enum", "name": "E", "symbols": "A"}'), "E: an enum has `symbols`, a list"),
        ("null", "and here is none"),
        ('"string"', "string declares nothing, .* a declared field of a record, or list 'string'"),
        (f'{{"type": "array", "items": {GOOD}}}', "make it a field of a record"),
    ],
)
def test_what_is_no_schema_is_told_by_what_it_is(text: str, told: str) -> None:
    """With the place where JSON ends, and the tool that makes a schema of it where there is one."""
    assert re.search(told, refused(text))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ('"Long"', "n: type 'Long' .* may be long"),
        ('["null", "integer"]', "n: type 'integer' .* may be int or long"),
        ('"varchar"', "may be string"),
        ('"array", "items": "string"', r'is it {"type": {"type": "array", ...}}'),
        ('"enum", "symbols": ["A"]', r'is it {"type": {"type": "enum", ...}}'),
        ('"timestamp-millis"', r'is it {"type": "long", "logicalType": "timestamp-millis"}'),
        ('["null", "date"]', r'is it {"type": "int", "logicalType": "date"}'),
        ('"decimal", "precision": 9', r'is it {"type": "bytes", "logicalType": "decimal"}'),
        ('"Address"', "type 'Address' is not defined before its use$"),
    ],
)
def test_a_name_that_no_type_has_is_told_with_what_it_may_mean(given: str, told: str) -> None:
    """Other tools' words, another case, and properties that stand beside a type instead of within."""
    assert re.search(told, refused(GOOD.replace('"long"', given)))


@pytest.mark.parametrize("name", ["Long", "object", "Date", "text"])
def test_a_type_may_be_named_as_another_tools_word(name: str) -> None:
    """It is defined, so it counts."""
    own = json.dumps({"type": "fixed", "name": name, "size": 4})
    used = '{"name": "b", "type": {"type": "Own"}}'.replace("Own", name)
    text = GOOD.replace('"long"}', f"{own}}}, {used}")

    assert compile_schema(text, DeclarationOptions()).plan.fields
