"""The versions of a subject, and what a registry's metadata says of their fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from worker.avro.canonical import canonical_fingerprint
from worker.avro.schema import parse
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
        subject: whose version it is; versions of one subject are compared with one another.
    """

    schema: str
    references: tuple[str, ...] = ()
    metadata_tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    label: str = "an earlier version"
    subject: str = ""


def around(known: Sequence[SchemaVersion], schema: str) -> tuple[tuple[SchemaVersion, ...], tuple[SchemaVersion, ...]]:
    """
    Part a subject's versions at a schema, by what it makes of bytes: those up to its own, and those after it.

    Of several subjects, or files without one, those count that have a record of the schema's name; else all of them.
    A schema that is none of the versions comes after all. What its own version says counts among the earlier ones,
    since a program that copied the schema may have dropped properties that it did not know.
    """
    known = _related(known, schema)
    own = _fingerprint(SchemaVersion(schema))
    at = [n for n, version in enumerate(known, 1) if own is not None and _fingerprint(version) == own]
    end = at[-1] if at else len(known)
    return tuple(known[:end]), tuple(known[end:])


def _related(known: Sequence[SchemaVersion], schema: str) -> Sequence[SchemaVersion]:
    names = root_names(schema)
    subjects = {v.subject for v in known if not names.isdisjoint(root_names(v.schema))}
    named = [v for v in known if v.subject in subjects and (v.subject or not names.isdisjoint(root_names(v.schema)))]
    if named:
        return named
    # A subject's record may have been renamed; a file without a subject is just another record's.
    return [version for version in known if version.subject]


def root_names(schema: str) -> frozenset[str]:
    """Return the names and aliases of a schema's root, or of its branches; none where it can't be read."""
    try:
        root = parse(schema)
    except DeclarationError:
        return frozenset()
    return frozenset(name for node in (root.inner if root.kind == "union" else [root]) for name in node.names)


def _fingerprint(version: SchemaVersion) -> bytes | None:
    try:
        return canonical_fingerprint(parse(version.schema, version.references))
    except DeclarationError:
        return None


def tags_at(metadata: Mapping[str, Sequence[str]], full_name: str) -> list[str]:
    """The tags of a registry's metadata that fall on `<record>.<field>`."""
    return [tag for pattern in matching(metadata, full_name) for tag in metadata[pattern]]


def matching(patterns: Mapping[str, object], full_name: str) -> Iterator[str]:
    """The path patterns (`*`, `**`, `?`) that a `<record>.<field>` meets."""
    for pattern in patterns:
        glob = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^.]*").replace(r"\?", "[^.]")
        if re.fullmatch(glob, full_name):
            yield pattern
