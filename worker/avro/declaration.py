"""What may be said of a field: the `encrypted` property, policies by path and by tag, and how they agree."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from worker.avro.nearmiss import near_misses
from worker.avro.schema import Node
from worker.errors import DeclarationError
from worker.model import Format
from worker.options import Options

Text = Annotated[str, Field(min_length=1)]


class FieldOptions(Options):
    """The `encrypted` object of a field, or a policy that stands for one (docs/contracts.md, 2)."""

    keyset: Text | None = None
    """Name or uuid; the default is `[encryption] keyset`."""
    format: Format | None = None
    """`record` or `leased`; the default is `[encryption] format`."""
    descriptor: Text | None = None
    """What the envelope is named; the default is the field's identity."""
    context: tuple[Text, ...] = ()
    """Sibling fields bound into the key, in order."""
    bind: tuple[Text, ...] = ()
    """Sibling fields, or `$key`, bound to the value; `leased` only."""
    null: Literal["keep", "encrypt"] = "keep"
    """`keep` leaves null as it is; `encrypt` encrypts it."""
    index: tuple[Literal["unique", "match"], ...] = ()
    """Search terms; written to `eql` columns only."""


class DeclarationOptions(Options):
    """What the operator says of every schema: `[encryption]` and `[schemas].required`."""

    format: Format = "record"
    """Format of fields that name none."""
    keyset: Text | None = None
    """Keyset of fields that name none; the client's own default if not given."""
    keysets: tuple[Text, ...] = ()
    """The keysets that schemas may name; empty allows any."""
    tags: dict[str, FieldOptions] = Field(default_factory=dict)
    """A tag (`confluent:tags`, the registry's `metadata.tags`) to the options it stands for."""
    paths: dict[str, FieldOptions] = Field(default_factory=dict)
    """A field identity to the options it is to have, for schemas that can't be changed."""
    required: tuple[str, ...] = ()
    """Identities that must be encrypted in every schema of their record."""
    allow_lost: tuple[str, ...] = ()
    """Identities that may stand in the clear although an earlier version of the subject encrypted them."""
    strict: bool = False
    """Demand that every leaf is declared encrypted or clear."""
    already_encrypted: Literal["refuse", "pass"] = "refuse"
    """
    `pass` lets a field that is encrypted already go through, once its envelope is verified to be one of `keysets`
    (by uuid).
    """
    ignore_properties: tuple[Text, ...] = ()
    """Foreign properties that look like a declaration and are none."""
    clear: tuple[Text, ...] | None = None
    """Names of records whose schema may declare nothing; without it every schema may."""


def read_property(value: Any, where: str) -> FieldOptions | bool:
    """
    Read an `encrypted` property: options, or False for a field declared clear.

    Raises:
        DeclarationError: neither true, false nor an object of known options.
    """
    if value is True:
        return FieldOptions()
    if value is False:
        return False
    if not isinstance(value, dict):
        raise DeclarationError(f"{where}: `encrypted` is true, false or an object", path=where)
    try:
        return FieldOptions.model_validate(value)
    except ValidationError as exc:
        raise DeclarationError(f"{where}: `encrypted` {_first(exc)}", path=where) from exc


def _first(exc: ValidationError) -> str:
    error = exc.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"option {name!r}: {error['msg']}"
    near = difflib.get_close_matches(name, FieldOptions.model_fields, n=1)
    known = f"did you mean {near[0]}?" if near else f"there are {', '.join(FieldOptions.model_fields)}"
    return f"option {name!r}: there is none of this name; {known}"


def read_tags(attributes: Mapping[str, Any], where: str) -> list[str]:
    """The `confluent:tags` of a field or type. Raises `DeclarationError` where they are no list of words."""
    tags = attributes.get("confluent:tags") or []
    tags = [tags] if isinstance(tags, str) else tags
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise DeclarationError(f"{where}: `confluent:tags` is a list of words", path=where)
    return tags


def refuse_misplaced(node: Node, options: DeclarationOptions) -> None:
    """Refuse a declaration that stands on a type, where a reader of the schema would think it protects something."""
    attributes, where = node.attributes, node.branch
    passes = {"encryption"} if node.original and options.already_encrypted == "pass" else set()
    for word in attributes.keys() - passes:
        if word in ("encrypted", "encryption"):
            raise DeclarationError(
                f"{where}: `{word}` stands on a type and would protect nothing; put `encrypted` on the record's field",
                path=where,
            )
    refuse_near_misses(attributes, where, passes, options)
    mapped = [tag for tag in read_tags(attributes, where) if tag in options.tags]
    if mapped:
        raise DeclarationError(
            f"{where}: the tag {mapped[0]!r} stands on a type and would protect nothing; put it on the field",
            path=where,
        )


def refuse_near_misses(attributes: Mapping[str, Any], where: str, known: set[str], options: DeclarationOptions) -> None:
    """Refuse a property that looks like a declaration: whoever wrote it thinks that it protects something."""
    for word in near_misses(attributes, {*known, *options.ignore_properties}):
        shown = word.encode(errors="backslashreplace").decode()
        raise DeclarationError(
            f"{where}: `{shown}` is no declaration; did you mean `encrypted` on the record's field? A foreign property "
            "of that name is listed under [encryption] ignore_properties",
            path=where,
        )


def decide(
    attributes: Mapping[str, Any],
    identities: Sequence[str],
    metadata_tags: Sequence[str],
    options: DeclarationOptions,
) -> FieldOptions | bool | None:
    """
    Settle what a field's property, path policy and tags say together.

    Args:
        attributes: the field's JSON attributes.
        identities: the field's identity and those its aliases give it.
        metadata_tags: tags of the registry's metadata that fall on the field.
        options: the operator's policies.

    Returns:
        options to encrypt with, False for explicitly clear, None where nobody said anything.

    Raises:
        DeclarationError: two of them differ; the message names both.
    """
    where = identities[0]
    said = list(_sayings(attributes, identities, metadata_tags, options))
    for origin, saying in said[1:]:
        if _effective(saying, options) != _effective(said[0][1], options):
            raise DeclarationError(f"{where}: {said[0][0]} and {origin} differ; make them agree", path=where)
    return said[0][1] if said else None


def _sayings(
    attributes: Mapping[str, Any], identities: Sequence[str], metadata_tags: Sequence[str], options: DeclarationOptions
) -> Iterator[tuple[str, FieldOptions | bool]]:
    where = identities[0]
    if "encrypted" in attributes:
        yield "the schema's `encrypted`", read_property(attributes["encrypted"], where)
    for identity in identities:
        if identity in options.paths:
            yield f"the policy for path {identity!r}", options.paths[identity]
    for tag in dict.fromkeys([*read_tags(attributes, where), *metadata_tags]):
        if tag in options.tags:
            yield f"the policy for tag {tag!r}", options.tags[tag]


def _effective(saying: FieldOptions | bool, options: DeclarationOptions) -> object:
    if isinstance(saying, bool):
        return saying
    return saying.model_copy(
        update={"format": saying.format or options.format, "keyset": saying.keyset or options.keyset}
    )


def is_reserved(descriptor: str) -> bool:
    """Whether a descriptor is one of the worker's own: the canary's, dead letters' or pseudonyms' of whole keys."""
    return descriptor == "zk-canary" or descriptor.startswith(("dead/", "key/"))
