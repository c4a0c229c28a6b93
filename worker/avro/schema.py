"""An Avro schema as a tree of nodes: parsed strictly, written back with every attribute it came with."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.avro.mistaken import name_told, object_told, symbols_told, text_told, union_told
from worker.avro.words import PRIMITIVES
from worker.errors import DeclarationError

MAX_NESTING = 64
AMBIGUOUS = re.compile(r"[./\[\]{}<>\s]")
"""What can't stand in a name that stands in a path."""

_COMMENT = re.compile(r'"(?:\\.|[^"\\])*"|/\*.*?\*/|//[^\n]*', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRUCTURE = {
    "record": {"type", "name", "namespace", "fields"},
    "enum": {"type", "name", "namespace"},
    "fixed": {"type", "name", "namespace"},
    "array": {"type", "items"},
    "map": {"type", "values"},
}


@dataclass(eq=False, slots=True)
class Node:
    """
    One type of a schema; a named type is one node however often it is used, so recursion is a cycle of references.

    Args:
        kind: a primitive's word, `record`, `enum`, `fixed`, `array`, `map` or `union`.
        name: the full name of a named type, else empty.
        attributes: every other JSON attribute as it stands in the schema (logicalType, symbols, size, doc, ...).
        fields: of a record.
        inner: an array's items, a map's values (one node), a union's branches.
        original: in an output schema, the full name of the record that this one is a copy of.
    """

    kind: str
    name: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    fields: list[Field] = field(default_factory=list)
    inner: list[Node] = field(default_factory=list)
    original: str = ""

    @property
    def branch(self) -> str:
        """The word that names this type within a union and in identities; a copy is known by its original's name."""
        return self.original or self.name or self.kind

    @property
    def names(self) -> tuple[str, ...]:
        """The word that names this type within a union, and a named type's aliases as full names."""
        namespace = self.name.rpartition(".")[0]
        others = aliases(self.attributes, self.name) if self.name else []
        return self.branch, *(a if "." in a or not namespace else f"{namespace}.{a}" for a in others)


@dataclass(eq=False, slots=True)
class Field:
    """A record's field; `attributes` holds all but its name and type."""

    name: str
    node: Node
    attributes: dict[str, Any] = field(default_factory=dict)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DeclarationError(f"the schema says {twice!r} twice in one object; parsers differ in which one counts")
    return dict(pairs)


def parse(schema: str, references: Sequence[str] = ()) -> Node:
    """
    Parse a schema's JSON text, after the schemas it refers to, in their order of dependence.

    Raises:
        DeclarationError: not an Avro schema; the message names the place.
    """
    parser = _Parser()
    try:
        for text in references:
            parser.node(_json(text), "", "", 0)
        return parser.node(_json(schema), "", "", 0)
    except json.JSONDecodeError as exc:
        raise DeclarationError(text_told(exc)) from exc
    except RecursionError as exc:
        raise DeclarationError("the schema nests too deep") from exc
    except ValueError as exc:
        raise DeclarationError("the schema holds a number of thousands of digits") from exc


def _json(text: str) -> Any:
    """A schema's JSON; a byte-order mark and comments, which Java's parser skips, are skipped."""
    text = text.removeprefix("\ufeff")
    try:
        return _loads(text)
    except json.JSONDecodeError:
        return _loads(_COMMENT.sub(_blank, text))


def _loads(text: str) -> Any:
    # NaN and the infinities are no JSON, and as text a default's value all the same.
    return json.loads(text, object_pairs_hook=_unique, parse_constant=str, parse_float=_finite)


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else "-Infinity" if value < 0 else "Infinity"


def _blank(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else re.sub(r"[^\n]", " ", found[0])


class _Parser:
    def __init__(self) -> None:
        self._named: dict[str, Node] = {}

    def node(self, json_type: Any, namespace: str, path: str, depth: int) -> Node:
        if depth > 2 * MAX_NESTING:
            raise DeclarationError(f"{path or 'the schema'} nests over {MAX_NESTING} deep", path=path)
        if isinstance(json_type, str):
            return Node(json_type) if json_type in PRIMITIVES else self._reference(json_type, namespace, path)
        if isinstance(json_type, list):
            return self._union(json_type, namespace, path, depth)
        if not isinstance(json_type, dict):
            found = "and here is none" if json_type is None else "and not a number"
            raise DeclarationError(f"{path or 'the schema'}: a type is a name, an object or a list, {found}", path=path)
        kind = json_type.get("type")
        if isinstance(kind, dict | list):
            if set(json_type) - {"type"}:
                raise DeclarationError(f"{path or 'the schema'}: properties stand on a wrapper of a type", path=path)
            return self.node(kind, namespace, path, depth + 1)
        if kind == "error":
            kind = "record"
        if kind in _STRUCTURE:
            return self._complex(json_type, kind, namespace, path, depth)
        if kind in PRIMITIVES:
            return Node(kind, attributes={k: v for k, v in json_type.items() if k != "type"})
        told = object_told(json_type)
        if not told and isinstance(kind, str) and not json_type.keys() & {"encrypted", "encryption"}:
            return self._reference(kind, namespace, path)
        raise DeclarationError(f"{path or 'the schema'}: {told or f'{kind!r} is no Avro type'}", path=path)

    def _reference(self, name: str, namespace: str, path: str) -> Node:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._named and name in self._named:
            # As Java writes a type without a namespace that is referred to within one.
            return self._named[name]
        if full not in self._named:
            raise DeclarationError(f"{path or 'the schema'}: {name_told(name, full)}", path=path)
        return self._named[full]

    def _union(self, branches: list[Any], namespace: str, path: str, depth: int) -> Node:
        inner = [self.node(branch, namespace, path, depth + 1) for branch in branches]
        words = [node.branch for node in inner]
        if told := union_told(words):
            raise DeclarationError(f"{path or 'the schema'}: {told}", path=path)
        return Node("union", inner=inner)

    def _complex(self, json_type: dict[str, Any], kind: str, namespace: str, path: str, depth: int) -> Node:
        node = Node(kind, attributes={k: v for k, v in json_type.items() if k not in _STRUCTURE[kind]})
        if kind in ("array", "map"):
            word, sign = ("items", "[]") if kind == "array" else ("values", "{}")
            node.inner = [self.node(json_type.get(word), namespace, path + sign, depth + 1)]
            return node
        namespace = self._define(node, json_type, namespace, path)
        if kind == "enum":
            if told := symbols_told(node.attributes.get("symbols")):
                raise DeclarationError(f"{node.name}: {told}", path=path)
        elif kind == "fixed":
            size = node.attributes.get("size")
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < 2**31:
                raise DeclarationError(f"{node.name}: a fixed has a size in bytes", path=path)
        else:
            if "encryption" in node.attributes:
                node.original = _original(node)
            self._fields(node, json_type.get("fields"), namespace, path, depth)
        return node

    def _define(self, node: Node, json_type: dict[str, Any], namespace: str, path: str) -> str:
        name = json_type.get("name")
        if not isinstance(name, str):
            raise DeclarationError(f"{path or 'the schema'}: a {node.kind} has a name", path=path)
        if "." in name:
            namespace, _, name = name.rpartition(".")
        else:
            namespace = json_type.get("namespace", namespace) or ""
            if not isinstance(namespace, str):
                raise DeclarationError(f"{path or 'the schema'}: a namespace is a text", path=path)
        parts = [name, *(namespace.split(".") if namespace else [])]
        if any(not p or AMBIGUOUS.search(p) or _SURROGATE.search(p) for p in parts) or name in PRIMITIVES:
            raise DeclarationError(f"{path or 'the schema'}: {name!r} is no name of a type", path=path)
        node.name = f"{namespace}.{name}" if namespace else name
        if node.name in self._named:
            raise DeclarationError(f"{node.name} is defined twice", path=path)
        self._named[node.name] = node
        return namespace

    def _fields(self, node: Node, fields: Any, namespace: str, path: str, depth: int) -> None:
        if not isinstance(fields, list):
            raise DeclarationError(f"{node.name}: a record has a list of fields", path=path)
        for item in fields:
            name = item.get("name") if isinstance(item, dict) else None
            if (
                not isinstance(name, str)
                or not name
                or _SURROGATE.search(name)
                or any(f.name == name for f in node.fields)
            ):
                place = f", and {name!r} is not one" if isinstance(name, str) else ""
                raise DeclarationError(f"{node.name}: each field has a name of its own{place}", path=path)
            inner = self.node(item.get("type"), namespace, f"{path}.{name}" if path else name, depth + 1)
            rest = {k: v for k, v in item.items() if k not in ("name", "type")}
            node.fields.append(Field(name, inner, rest))


def _original(node: Node) -> str:
    told = node.attributes["encryption"]
    name = told.get("name") if isinstance(told, dict) and told.get("version") == 1 else None
    if not isinstance(name, str) or not all(name.split(".")):
        raise DeclarationError(f"{node.name}: `encryption` stands on a type, and names no record that it is a copy of")
    aliases(told, node.name)
    return name


def to_json(node: Node, seen: set[str] | None = None, namespace: str = "") -> Any:
    """The node as JSON, each named type defined at its first use; self-contained with a fresh `seen`."""
    seen = set() if seen is None else seen
    if node.kind == "union":
        return [to_json(branch, seen, namespace) for branch in node.inner]
    if node.name:
        return _named_json(node, seen, namespace)
    if node.kind in ("array", "map"):
        word = "items" if node.kind == "array" else "values"
        return {"type": node.kind, word: to_json(node.inner[0], seen, namespace), **node.attributes}
    return {"type": node.kind, **node.attributes} if node.attributes else node.kind


def _named_json(node: Node, seen: set[str], enclosing: str) -> Any:
    namespace, _, name = node.name.rpartition(".")
    if node.name in seen:
        return node.name
    seen.add(node.name)
    result: dict[str, Any] = {"type": node.kind, "name": name}
    if namespace != enclosing:
        result["namespace"] = namespace
    result.update(node.attributes)
    if node.kind == "record":
        result["fields"] = [
            {"name": f.name, "type": to_json(f.node, seen, namespace), **f.attributes} for f in node.fields
        ]
    return result


def aliases(attributes: Mapping[str, Any], where: str) -> list[str]:
    """The aliases of a named type or a field. Raises `DeclarationError` where they are no list of names."""
    found = attributes.get("aliases") or []
    if not isinstance(found, list) or not all(isinstance(a, str) and a for a in found):
        raise DeclarationError(f"{where}: aliases are a list of names", path=where)
    return found


def dump(value: Any) -> str:
    """JSON text, compact and in the order given; half a character, which UTF-8 can't carry, is escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def null_index(node: Node) -> int | None:
    """The index of a union's null branch, None where there is none or the type is no union."""
    if node.kind != "union":
        return None
    return next((i for i, branch in enumerate(node.inner) if branch.kind == "null"), None)
