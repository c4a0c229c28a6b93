"""What stands where an Avro schema should, told by its looks: the files and types of other tools, and slips of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from worker.avro.words import COMPLEX, LOGICAL, NAME, PRIMITIVES

_COMMENTS = re.compile(r"\A(?:\s|//[^\n]*|/\*.*?\*/|#[^\n]*)*", re.DOTALL)
_IDL = r"(?:@[\w.-]+\([^)]*\)\s*)*(?:protocol|namespace|schema|import|record|error|enum|fixed)\s+[\w`\"]"
_LOOKS = (
    (re.compile(r"\Z"), "is empty"),
    (re.compile("[^\0]{0,8}\0"), "is no UTF-8, by its NUL characters UTF-16: save it as UTF-8"),
    (re.compile(r"syntax\s*=|(?:package|message)\s+\w"), "is Protobuf: the worker reads Avro only"),
    (re.compile(_IDL), "is Avro IDL: `avro-tools idl2schemata FILE DIRECTORY` writes the schemas that it defines"),
    (re.compile("<"), "is HTML or XML: was a page saved in its place?"),
    (re.compile("version https:"), "is a pointer of Git LFS: `git lfs pull` fetches the file"),
    (re.compile(r"---|[\w-]+:\s"), "is YAML: write it as JSON"),
    (re.compile(r"[{\[]\s*'"), "has single quotes: JSON has double ones, so print it with `json.dumps`"),
)
_TRAILING = re.compile(r",\s*[\]}]")
_TYPES = {
    "bigint": "long",
    "binary": "bytes",
    "blob": "bytes",
    "bool": "boolean",
    "char": "string",
    "float32": "float",
    "float64": "double",
    "int32": "int",
    "int64": "long",
    "integer": "int or long",
    "number": "double or decimal",
    "object": "record",
    "short": "int",
    "smallint": "int",
    "str": "string",
    "text": "string",
    "varchar": "string",
}
_BASES = {word: base for base, words in LOGICAL.items() for word in words}


def text_told(error: json.JSONDecodeError) -> str:
    """Return what is wrong with a text that is no JSON."""
    start = _COMMENTS.sub("", error.doc, 1)
    for looks, what in _LOOKS:
        if looks.match(start):
            return f"it {what}"
    return f"the schema is not JSON: {error}{_slip(error)}"


def _slip(error: json.JSONDecodeError) -> str:
    text, at = error.doc, error.pos
    before = text[:at].rstrip()
    if _TRAILING.match(text, len(before) - 1 if before.endswith(",") else at):
        return "; JSON has no comma before a closing bracket"
    if text.startswith(("True", "False", "None"), at):
        return "; JSON writes true, false and null"
    if error.msg == "Extra data":
        return "; a file holds one schema, a union where there are several records"
    return ""


def object_told(found: dict[str, object]) -> str:
    """Return what an object is that has no type of Avro's, empty where that can't be told."""
    kind, schema = found.get("type"), found.get("schema")
    if isinstance(types := found.get("types"), list) and "protocol" in found:
        return f"this is an Avro protocol: write each type{_named(types)} to a schema of its own, with its namespace"
    if isinstance(schema, str | dict) and kind is None:
        return "this is a registry's answer: the schema is what its `schema` holds (`jq -r .schema`)"
    if "$schema" in found:
        return "this is JSON Schema: the worker reads Avro only"
    return "" if kind is not None else "a type that is an object says what it is in `type`"


def _named(types: list[object]) -> str:
    names = [str(t["name"]) for t in types if isinstance(t, dict) and t.get("type") in ("record", "error")]
    return f" ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})" if names else ""


def union_told(words: Sequence[str]) -> str:
    """Return what is wrong with a union of branches of these words; empty where nothing is."""
    twice = next((word for word in words if words.count(word) > 1), "")
    if words and not twice and "union" not in words:
        return ""
    found = f"{twice} stands twice, whatever its logical type" if twice else "none a union" if words else "here is none"
    return f"a union has branches, each of another type; {found}"


def symbols_told(values: object) -> str:
    """Return what is wrong with an enum's symbols; empty where nothing is."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return "an enum has `symbols`, a list of names"
    odd = next((value for value in values if NAME.match(value) is None), None)
    if odd is not None:
        return f"the symbol {odd!r} is no name of letters, digits and _, so that Avro's readers refuse it"
    twice = next((value for value in values if values.count(value) > 1), None)
    return "" if twice is None else f"the symbol {twice!r} stands twice"


def name_told(name: str, full: str) -> str:
    """Return what is wrong with the name of a type that is not defined, and what it may stand for."""
    if name.lstrip().startswith(("{", "[")):
        return "it was written to JSON twice: a text that holds a schema is none"
    undefined, word = f"type {full!r} is not defined before its use", name.lower()
    if word in COMPLEX:
        return f'{undefined}; is it {{"type": {{"type": "{word}", ...}}}}, with all of its properties within?'
    if word in _BASES:
        return f'{undefined}; is it {{"type": "{_BASES[word]}", "logicalType": "{word}"}}?'
    known = word if word in PRIMITIVES else _TYPES.get(word)
    return f"{undefined}; Avro's own word may be {known}" if known else undefined
