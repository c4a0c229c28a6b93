"""What earlier versions of a schema declared: a path that one of them encrypted may not become clear."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.avro.declaration import DeclarationOptions, read_tags
from worker.avro.nearmiss import near_misses
from worker.avro.schema import Field, Node, parse
from worker.avro.shape import Walker
from worker.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class SchemaVersion:
    """
    One version of a subject.

    Args:
        schema: JSON text.
        references: texts of the schemas it refers to, in their order of dependence.
        metadata_tags: path pattern to tags, from the registry's metadata.
        label: what to call it in errors.
    """

    schema: str
    references: tuple[str, ...] = ()
    metadata_tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    label: str = "an earlier version"


def declared(version: SchemaVersion, options: DeclarationOptions) -> list[str]:
    """
    Every identity that a version declares encrypted, by property or tag, aliases included.

    Whether the version's declarations agreed is not asked: whoever wrote one meant the field to be protected.

    Raises:
        DeclarationError: the version can't be read; the message says what to do.
    """
    found: list[str] = []

    def visit(item: Field, identities: tuple[str, ...], record: Node) -> None:
        slips = near_misses(item.attributes, {"encrypted", "encryption", *options.ignore_properties})
        said = item.attributes.get("encrypted", False) is not False or "encryption" in item.attributes or any(slips)
        tags = [
            *read_tags(item.attributes, identities[0]),
            *tags_at(version.metadata_tags, f"{record.name}.{item.name}"),
        ]
        if said or any(tag in options.tags for tag in tags):
            found.extend(identities)

    try:
        Walker(visit).root(parse(version.schema, version.references))
    except DeclarationError as exc:
        message = f"what {version.label} protected can't be read; delete that version in the registry: {exc}"
        raise DeclarationError(message, path=exc.path) from exc
    return found


def tags_at(metadata: Mapping[str, Sequence[str]], full_name: str) -> list[str]:
    """The tags of a registry's metadata that fall on `<record>.<field>`."""
    return [tag for pattern in matching(metadata, full_name) for tag in metadata[pattern]]


def matching(patterns: Mapping[str, object], full_name: str) -> Iterator[str]:
    """The path patterns (`*`, `**`, `?`) that a `<record>.<field>` meets."""
    for pattern in patterns:
        glob = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
        if re.fullmatch(glob, full_name):
            yield pattern
