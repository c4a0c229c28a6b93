"""What a version of a schema declares, and so others owe it."""

from __future__ import annotations

from dataclasses import dataclass, field

from worker.avro.declaration import DeclarationOptions, FieldOptions, decide, read_tags
from worker.avro.history import SchemaVersion, tags_at
from worker.avro.nearmiss import near_misses
from worker.avro.schema import Field, Node, parse
from worker.avro.shape import Shape, Walker
from worker.errors import DeclarationError


@dataclass(frozen=True, slots=True)
class Owed:
    """
    A field that some version declares.

    Args:
        identity: its own, in that version.
        label: what to call the version.
        said: what it is to be encrypted with.
        guessed: whether it is only where it could have stood before a rename that no alias tells of.
    """

    identity: str
    label: str
    said: FieldOptions = field(compare=False)
    guessed: bool = field(default=False, compare=False)


Marks = dict[str, dict[Owed, Owed]]
"""What is owed, by the place (own identity) of a field in one version; each once."""
Version = tuple[Shape, Marks]


def read_version(version: SchemaVersion, options: DeclarationOptions) -> Version:
    """
    Read a version's shape and every place that it declares encrypted, by property, policy or tag.

    Whether the version would be taken is not asked: whoever wrote a declaration, or slipped, meant the field.
    """
    marks: Marks = {}

    def visit(item: Field, identities: tuple[str, ...], record: Node) -> None:
        said = _said(item, identities, record, version, options)
        if said is not None:
            owed = Owed(identities[0], version.label, said)
            marks.setdefault(identities[0], {})[owed] = owed

    try:
        return Walker(visit).root(parse(version.schema, version.references)), marks
    except DeclarationError as exc:
        message = f"what {version.label} protects can't be read; delete that version in the registry: {exc}"
        raise DeclarationError(message, path=exc.path) from exc


def _said(
    item: Field, identities: tuple[str, ...], record: Node, version: SchemaVersion, options: DeclarationOptions
) -> FieldOptions | None:
    tags = tags_at(version.metadata_tags, f"{record.name}.{item.name}")
    meant = (
        item.attributes.get("encrypted", False) is not False
        or "encryption" in item.attributes
        or any(near_misses(item.attributes, {"encrypted", "encryption", *options.ignore_properties}))
        or any(tag in options.tags for tag in (*read_tags(item.attributes, identities[0]), *tags))
        or any(identity in options.paths or identity in options.required for identity in identities)
    )
    if not meant:
        return None
    try:
        said = decide(item.attributes, identities, tags, options)
    except DeclarationError:
        said = None
    return said if isinstance(said, FieldOptions) else FieldOptions()
