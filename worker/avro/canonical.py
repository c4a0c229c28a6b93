"""The parsing canonical form of a type, and its fingerprint."""

from __future__ import annotations

from typing import Any

from fastavro.schema import fingerprint

from worker.avro.schema import Node, dump


def canonical_form(node: Node) -> Any:
    """The parsing canonical form as JSON values; `dump` gives its text."""
    return _canonical(node, set())


def _canonical(node: Node, seen: set[str]) -> Any:
    if node.kind == "union":
        return [_canonical(branch, seen) for branch in node.inner]
    if node.kind in ("array", "map"):
        return {"type": node.kind, "items" if node.kind == "array" else "values": _canonical(node.inner[0], seen)}
    if not node.name:
        return node.kind
    if node.name in seen:
        return node.name
    seen.add(node.name)
    form: dict[str, Any] = {"name": node.name, "type": node.kind}
    if node.kind == "record":
        form["fields"] = [{"name": f.name, "type": _canonical(f.node, seen)} for f in node.fields]
    elif node.kind == "enum":
        form["symbols"] = node.attributes["symbols"]
    else:
        form["size"] = node.attributes["size"]
    return form


def canonical_fingerprint(node: Node) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, 8 bytes, little-endian."""
    return bytes.fromhex(fingerprint(dump(canonical_form(node)), "CRC-64-AVRO"))
