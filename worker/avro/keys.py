"""The schema of a record's key: what it declares, and what the key becomes where declared fields are pseudonyms."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worker.avro.batch import SplitBatch, Splitter
from worker.avro.compiler import Compiler
from worker.avro.copies import renaming
from worker.avro.declaration import DeclarationOptions
from worker.avro.history import SchemaVersion
from worker.avro.lineage import Lineage
from worker.avro.reader import read_long
from worker.avro.rows import RowReader
from worker.avro.schema import Field, Node, dump, parse, to_json
from worker.avro.shape import Covered, exchanged
from worker.errors import ConfigError, DeclarationError
from worker.model import FieldPlan
from worker.model.rows import Row, RowType

WHOLE_KEY_SCHEMA = '"bytes"'
"""The output schema of a key that is replaced as a whole."""


class KeySchema:
    """
    A key's schema, compiled once per schema id.

    Args:
        schema: JSON text.
        options: the operator's policies; what they demand of values is not demanded of keys.
        references: schemas that it refers to, in their order of dependence.
        metadata_tags: the registry's path patterns and their tags.
        earlier: earlier versions of the subject; what one of them declares may not become clear.
        later: later ones; what one of them declares is declared here too.

    Raises:
        DeclarationError: what is declared can't be a pseudonym; the message names path and remedy.
    """

    def __init__(
        self,
        schema: str,
        options: DeclarationOptions,
        *,
        references: Sequence[str] = (),
        metadata_tags: Mapping[str, Sequence[str]] | None = None,
        earlier: Sequence[SchemaVersion] = (),
        later: Sequence[SchemaVersion] = (),
    ) -> None:
        root = parse(schema, references)
        values_only = {"required": (), "strict": False, "already_encrypted": "refuse", "clear": None}
        options = options.model_copy(update=values_only)
        compiled = Compiler(root, options, metadata_tags or {}, Lineage(root, options, earlier, later))
        self._lost = next(compiled.lost(), None)
        if compiled.covered:
            # A key that declares nothing is replaced whole, or refused where keys pass in the clear.
            compiled.refuse_lost()
        for covered in compiled.covered:
            _check(covered)
        self.fields: tuple[FieldPlan, ...] = tuple(c.plan for c in compiled.covered)
        self.input_schema: str = dump(to_json(root))
        self.output_schema: str = dump(to_json(exchanged(compiled.top, _pseudonymous, renaming(compiled.top))))
        self._splitter = Splitter(compiled.top, compiled.covered, (), sealed=False)

    def refuse_declarations(self) -> None:
        """Raise `DeclarationError` where any version declares a field: under `key = "clear"` it would pass as it is."""
        if self._lost is not None:
            owed = self._lost[0]
            raise DeclarationError(
                f"{owed.identity} is declared in {owed.label} of a key's schema, and keys pass in the clear; say "
                'key = "pseudonym" on the route, or list it under [encryption] allow_lost',
                path=owed.identity,
            )
        for plan in self.fields:
            raise DeclarationError(
                f"{plan.identity} is declared in a key's schema, and keys pass in the clear; "
                'say key = "pseudonym" on the route, or take the declaration away (where keys only look framed by this '
                'schema\'s id: key_format = "plain")',
                path=plan.identity,
            )

    def written(self, pseudonym: bool) -> str:
        """Return the schema of the keys as they are written."""
        if not pseudonym:
            return self.input_schema
        return self.output_schema if self.fields else WHOLE_KEY_SCHEMA

    def split(self, payloads: Sequence[bytes]) -> SplitBatch:
        """Take bare keys apart into columns of declared values; a bad key is in `errors` and in no column."""
        return self._splitter.split(payloads, [None] * len(payloads))

    def columns(self, names: Mapping[str, str], *, pseudonymous: bool) -> KeyColumns:
        """Return what reads bare keys as key columns, before or after their fields were replaced."""
        return KeyColumns(self.written(pseudonymous), names)


class KeyColumns:
    """
    Reads keys as the key columns of a table.

    Args:
        schema: of the keys as they are written.
        names: the columns, and the key's fields that fill them.

    Raises:
        ConfigError: the keys have not these fields, or are one value and fill several columns.
    """

    def __init__(self, schema: str, names: Mapping[str, str]) -> None:
        self._reader = RowReader(parse(schema))
        at = {kind.name: i for i, kind in enumerate(self._reader.type.columns)}
        if "" in at:
            if len(names) != 1:
                raise ConfigError(
                    f"the record key is one value and can't fill {', '.join(names)}; use keys with these fields, "
                    "or one key column"
                )
            self._places = [0]
        else:
            if missing := [name for name in names.values() if name not in at]:
                raise ConfigError(
                    f"the record key has no field {', '.join(missing)}, it has {', '.join(at)}; the sink's key columns "
                    "are the key's fields, so that a tombstone finds its row"
                )
            self._places = [at[name] for name in names.values()]
        self.type = RowType(tuple(self._reader.type.columns[i] for i in self._places))

    def row(self, payload: bytes) -> Row:
        """Return a bare key's columns; raises `DecodeError`."""
        values = self._reader.checked(payload).values
        return Row(self.type, tuple(values[i] for i in self._places))


def plain_value(plan: FieldPlan, value: bytes) -> bytes:
    """
    Return what a pseudonym is made of: the value's Avro binary without the index of a union of null and one other.

    So a field that becomes nullable keeps its pseudonyms. With `null: encrypt` the index stays, as it is hidden.
    """
    if plan.null_branch is None or plan.null == "encrypt":
        return value
    return value[read_long(value, 0)[1] :]


def _check(covered: Covered) -> None:
    plan = covered.plan
    if plan.context or plan.bind or plan.index:
        raise DeclarationError(
            f"{plan.identity}: a key's field takes keyset, descriptor and null; "
            "a pseudonym has no context, bind or index",
            path=plan.identity,
        )
    if _holds_container(covered.original, set()):
        raise DeclarationError(
            f"{plan.identity}: arrays and maps have more than one encoding, so equal keys could get different "
            "pseudonyms; declare the fields within",
            path=plan.identity,
        )


def _holds_container(node: Node, seen: set[int]) -> bool:
    if id(node) in seen:
        return False
    seen.add(id(node))
    inner = [*node.inner, *(f.node for f in node.fields)]
    return node.kind in ("array", "map") or any(_holds_container(n, seen) for n in inner)


def _pseudonymous(item: Field, covered: Covered) -> Field:
    plan = covered.plan
    attributes: dict[str, Any] = {k: v for k, v in item.attributes.items() if k not in ("encrypted", "order")}
    if "default" in attributes and (attributes["default"] is not None or covered.sealed.kind == "bytes"):
        attributes["default"] = ""
    told = {
        "version": 1,
        "type": json.loads(plan.schema),
        "keyset": plan.keyset,
        **({"descriptor": plan.descriptor} if plan.descriptor_is_explicit else {}),
        "null": plan.null,
    }
    return Field(item.name, covered.sealed, {**attributes, "pseudonym": told})
