"""What a person wants to know of a schema before it is used: what a change does, and what was forgotten."""

from __future__ import annotations

import json
import re

from worker.avro.codec import compile_once
from worker.avro.compiler import Compiler
from worker.avro.declaration import DeclarationOptions
from worker.avro.history import SchemaVersion
from worker.avro.lineage import Lineage
from worker.avro.opened import sealed_types
from worker.avro.schema import parse
from worker.avro.shape import Shape, occurrences

_PERSONAL = re.compile(
    r"e_?mail|phone|mobile|birth|(first|last|sur|full|given|family)_?name|address|street|iban|passport|ssn|tax_?id|salary"
    r"|card_?(no|num|number)|ip_?addr|gender|religion|diagnosis|password",
    re.IGNORECASE,
)


def lint(schema: str, options: DeclarationOptions) -> list[str]:
    """
    Identities of clear fields that look like personal data; a field declared `false` is meant so.

    By their names, or by tags that say so to others: what Confluent's rules encrypt by a tag is not encrypted here.
    """
    compiled = Compiler(parse(schema), options, {})
    return [
        child.path
        for shape in occurrences(compiled.top)
        for item, child in zip(shape.node.fields, shape.children, strict=False)
        if isinstance(child, Shape)
        and not child.declares
        and item.attributes.get("encrypted") is not False
        and (_PERSONAL.search(item.name) or item.attributes.get("confluent:tags"))
    ]


def changes(old: str, new: str, options: DeclarationOptions) -> tuple[list[str], bool]:
    """
    What a change of schema does to encryption.

    Returns:
        sentences, and whether protection is lost.

    Raises:
        DeclarationError: one of the schemas can't be compiled.
    """
    before = {f.identity: f for f in compile_once(SchemaVersion(old), options).plan.fields}
    after = {f.identity: f for f in compile_once(SchemaVersion(new), options).plan.fields}
    root = parse(new)
    compiled = Compiler(root, options, {}, Lineage(root, options, [SchemaVersion(old)]))
    places = {owed.identity: place for owed, place in compiled.lost()}
    lost = list(places)
    said = [
        f"{i} is {'not there' if place is None else 'in the clear'} now: protection is lost"
        for i, place in places.items()
    ]
    gone = [i for i in before if i not in after]
    said += [f"{i} is not declared by itself any more; it is renamed or covered" for i in gone if i not in lost]
    said += [f"{i} is encrypted now" for i in after if i not in before]
    for identity, field in after.items():
        was = before.get(identity, field)
        for word in ("keyset", "format", "descriptor", "context", "bind", "null"):
            if getattr(was, word) != getattr(field, word):
                said.append(f"{identity}: {word} changes from {getattr(was, word)!r} to {getattr(field, word)!r}")
        if was.null == "encrypt" and field.null == "keep":
            lost.append(identity)
            said.append(f"{identity}: which values are null can be seen now: protection is lost")
        if set(was.context) - set(field.context) or set(was.bind) - set(field.bind):
            lost.append(identity)
            said.append(f"{identity}: less is bound than before: protection is lost")
    return said, bool(lost)


def output_types(output_schema: str) -> dict[str, str]:
    """The output type of each encrypted field, by identity, as JSON text."""
    return {identity: json.dumps(kind) for identity, kind in sealed_types(output_schema).items()}
