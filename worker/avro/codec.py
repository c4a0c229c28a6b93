"""A compiled schema: its plan, and the way of its datums to columns and back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, cast

import fastavro

from worker.avro.batch import SplitBatch, Splitter
from worker.avro.canonical import canonical_fingerprint
from worker.avro.compiler import Compiler, without_declarations
from worker.avro.copies import original, renaming
from worker.avro.declaration import DeclarationOptions
from worker.avro.decode import decode_value, decode_values
from worker.avro.descriptors import default_descriptor, spread
from worker.avro.history import SchemaVersion
from worker.avro.lineage import Lineage
from worker.avro.native import program
from worker.avro.rows import RowReader, indexed
from worker.avro.schema import Field, Node, dump, null_index, parse, to_json
from worker.avro.shape import Covered, Shape, Walker, exchanged, field_fingerprint, kind_of
from worker.avro.siblings import text_reader
from worker.errors import DeclarationError, DecodeError
from worker.model import Batch, EncryptionPlan, FieldPlan, Split
from worker.model.rows import Row, RowType
from worker.native import IS_LOADED, extension
from worker.native.split import SpanSplit

_KEPT = {"type", "name", "namespace", "fields", "items", "values", "symbols", "size"}


def compile_schema(
    schema: str,
    options: DeclarationOptions,
    *,
    references: Sequence[str] = (),
    metadata_tags: Mapping[str, Sequence[str]] | None = None,
    extract: Sequence[str] = (),
    earlier: Sequence[SchemaVersion] = (),
    later: Sequence[SchemaVersion] = (),
) -> CompiledSchema:
    """
    Compile a writer's schema, once per schema id.

    Args:
        schema: JSON text.
        options: the operator's policies.
        references: schemas that it refers to, in their order of dependence.
        metadata_tags: the registry's path patterns and their tags.
        extract: root fields whose values are wanted as text.
        earlier: earlier versions of the subject; a declaration that one of them had may not be lost.
        later: later versions; what one of them declares is encrypted in this one too.

    Raises:
        DeclarationError: what is declared can't be kept; the message names path and remedy.
    """
    root = parse(schema, references)
    lineage = Lineage(root, options, earlier, later)
    return CompiledSchema(root, options, metadata_tags or {}, extract, lineage)


class CompiledSchema:
    """Takes the schema's datums apart for encryption; `plan` says what is encrypted and how."""

    def __init__(
        self,
        root: Node,
        options: DeclarationOptions,
        metadata_tags: Mapping[str, Sequence[str]],
        extract: Sequence[str],
        lineage: Lineage,
    ) -> None:
        branches = root.inner if root.kind == "union" else [root]
        if any(branch.kind != "record" for branch in branches):
            if extract or options.strict:
                raise DeclarationError("the root is no record, nor a union of records")
            if _declares_anything(root, options, metadata_tags):
                raise DeclarationError("a root that is no record, nor a union of records, may declare nothing")
        compiled = _compiled(root, options, metadata_tags, lineage)
        compiled.refuse_lost()
        _refuse_undeclared([branch.branch for branch in branches], compiled, options)
        for branch in branches:
            for name in extract:
                found = next((f for f in branch.fields if f.name == name), None)
                if found is None or text_reader(found.node) is None:
                    raise DeclarationError(f"{branch.name} has no field {name!r} that reads as text", path=name)
        output = exchanged(compiled.top, _seal, renaming(compiled.top))
        spread(compiled.covered)
        self.warnings = tuple(compiled.warnings)
        self.plan = EncryptionPlan(
            "|".join(branch.branch for branch in branches),
            tuple(c.plan for c in compiled.covered),
            dump(to_json(root)),
            dump(to_json(output)),
            is_clear=_declares_nothing(compiled),
        )
        self._output = output
        self._splitter = Splitter(compiled.top, compiled.covered, extract, sealed=False)
        self._extract = tuple(extract)
        self._binds_keys = any("$key" in plan.bind for plan in self.plan.fields)
        self._program = program(compiled.top, compiled.covered, extract, sealed=False) if IS_LOADED else None
        self._check(compiled.passed)

    def _check(self, passed: Collection[str]) -> None:
        """The proof: what a reader takes from the output schema is what was declared, field by field."""
        seen = [
            (f.identity, f.descriptor, f.fingerprint, f.format)
            for f in open_schema(self.plan.output_schema).fields
            if f.identity not in passed
        ]
        try:
            fastavro.parse_schema(_structure(json.loads(self.plan.output_schema)))
        except fastavro.schema.UnknownType:
            # A type without a namespace, referred to within one: Java and `open_schema` read it, this library does not.
            pass
        except (ValueError, TypeError, KeyError, fastavro.schema.SchemaParseException) as exc:
            raise DeclarationError(f"the output schema is not one that readers take: {type(exc).__name__}") from exc
        if seen != [(f.identity, f.descriptor, f.fingerprint, f.format) for f in self.plan.fields]:
            raise DeclarationError("the output schema does not read back as what was declared")

    def split(self, payloads: Sequence[bytes], keys: Sequence[bytes | None]) -> SplitBatch:
        """Take bare datums apart into columns of declared values; a bad record is in `errors` and in no column."""
        return self._splitter.split(payloads, keys)

    def split_batch(self, batch: Batch, keys: Sequence[bytes | None], start: int) -> Split:
        """
        Take a batch of this schema's records apart.

        Args:
            batch: every record has a value.
            keys: one each, as `$key` binds them.
            start: where in each value the datum begins, behind its frame.
        """
        values = cast("Sequence[bytes]", batch.values)
        if self._program is None:
            return self._splitter.split(values, keys, start)

        def twin(at: Sequence[int]) -> Split:
            return self._splitter.split([values[i] for i in at], [keys[i] for i in at], start)

        spans = extension.Split(self._program, values, keys if self._binds_keys else None, start)
        return SpanSplit(spans, self.plan.fields, self._extract, twin)

    def rows(
        self, outputs: Sequence[bytes], start: int = 0, terms: Mapping[bytes, Mapping[str, object]] | None = None
    ) -> list[Row]:
        """
        Output datums as rows, for tables; encrypted fields stay envelopes.

        Args:
            outputs: datums behind their frame.
            start: the frame's bytes.
            terms: by envelope, the search terms that a row carries beside it.
        """
        rows = [self._rows.row(data[start:]) for data in outputs]
        return [indexed(row, terms) for row in rows] if terms else rows

    @property
    def row_type(self) -> RowType:
        """The columns of the output's rows. Raises `ConfigError` where no table has columns for them."""
        return self._rows.type

    @cached_property
    def _rows(self) -> RowReader:
        return RowReader(self._output)


def _compiled(
    root: Node, options: DeclarationOptions, metadata_tags: Mapping[str, Sequence[str]], lineage: Lineage
) -> Compiler:
    try:
        return Compiler(root, options, metadata_tags, lineage)
    except DeclarationError as exc:
        owed = next(iter(lineage.followed.get(exc.path, {})), None)
        if owed is None:
            raise
        raise DeclarationError(f"{exc}; {owed.label} declares it, so it is encrypted here too", path=exc.path) from exc


def _declares_nothing(compiled: Compiler) -> bool:
    return not compiled.covered and not compiled.passed


def _refuse_undeclared(names: Sequence[str], compiled: Compiler, options: DeclarationOptions) -> None:
    missing = [name for name in names if options.clear is not None and name not in options.clear]
    if missing and _declares_nothing(compiled):
        raise DeclarationError(
            f"{', '.join(missing)} declares nothing, so every value would be written in the clear; declare what is to "
            f"be encrypted, or list {', '.join(map(repr, missing))} under the route's clear",
            path=missing[0],
        )


def _declares_anything(root: Node, options: DeclarationOptions, metadata_tags: Mapping[str, Sequence[str]]) -> bool:
    return bool(Compiler(root, options, metadata_tags).covered)


def _seal(item: Field, covered: Covered) -> Field:
    plan = covered.plan
    attributes = {k: v for k, v in item.attributes.items() if k not in ("encrypted", "order")}
    said = item.attributes.get("encrypted")
    encryption: dict[str, Any] = {"version": 1, "type": json.loads(plan.schema)}
    if "default" in attributes:
        encryption["default"] = attributes["default"]
        if attributes["default"] is not None or covered.sealed.kind == "bytes":
            attributes["default"] = ""
    encryption |= {
        "format": plan.format,
        "keyset": said.get("keyset") if isinstance(said, dict) else None if said is True else plan.keyset,
        **({"descriptor": plan.descriptor} if plan.descriptor_is_explicit else {}),
        "context": list(plan.context),
        "bind": list(plan.bind),
        "null": plan.null,
        **({"index": list(plan.index)} if plan.index else {}),
    }
    return Field(item.name, covered.sealed, {**attributes, "order": "ignore", "encryption": encryption})


@lru_cache(maxsize=256)
def open_schema(output_schema: str) -> OutputSchema:
    """
    Read an output schema's `encryption` properties back.

    Raises:
        DeclarationError: a property is malformed or of an unknown version.
    """
    return OutputSchema(output_schema)


class OutputSchema:
    """
    Takes output datums apart for decryption.

    `writer_schema` is the original that they are restored to, `names` are the root's, or those of its branches.
    """

    def __init__(self, output_schema: str) -> None:
        walker = Walker(_opened)
        root = parse(output_schema)
        top: Shape = walker.root(root)
        self.names: tuple[str, ...] = tuple(b.branch for b in (root.inner if root.kind == "union" else [root]))
        writer = exchanged(top, _restore, original)
        spread(walker.covered)
        self.fields: tuple[FieldPlan, ...] = tuple(c.plan for c in walker.covered)
        self.writer_schema: str = dump(without_declarations(to_json(writer)))
        self._splitter = Splitter(top, walker.covered, (), sealed=True)
        self._program = program(top, walker.covered, (), sealed=True) if IS_LOADED else None
        self._binds_keys = any("$key" in plan.bind for plan in self.fields)

    def refuse_clear(self, clear: Collection[str] = ()) -> None:
        """Raise `DeclarationError` where no field has `encryption`, unless the schema's names are all in `clear`."""
        if not self.fields and not set(self.names) <= set(clear):
            raise DeclarationError(
                f"the schema of {', '.join(self.names)} has no `encryption`: its records are in the clear, or a "
                "registry dropped the property and what looks like a value is an envelope; give the output schema "
                "that the worker made",
                path=self.names[0],
            )

    def split(self, payloads: Sequence[bytes], keys: Sequence[bytes | None]) -> SplitBatch:
        """Take output datums apart into columns of envelopes; joining plaintexts restores the original datums."""
        return self._splitter.split(payloads, keys)

    def split_batch(self, values: Sequence[bytes], keys: Sequence[bytes | None], start: int = 0) -> Split:
        """Take output datums that begin at `start` apart, in native memory where that can be; see `split`."""
        if self._program is None:
            return self._splitter.split(values, keys, start)

        def twin(at: Sequence[int]) -> Split:
            return self._splitter.split([values[i] for i in at], [keys[i] for i in at], start)

        spans = extension.Split(self._program, values, keys if self._binds_keys else None, start)
        return SpanSplit(spans, self.fields, (), twin)

    def value(self, plan: FieldPlan, data: bytes) -> object:
        """A field's Avro binary as a Python value. Raises `DecodeError`."""
        return decode_value(plan.schema, data)

    def record(self, datum: bytes) -> dict[str, object]:
        """A restored datum as Python values. Raises `DecodeError`."""
        return cast("dict[str, object]", decode_value(self.writer_schema, datum))

    def records(self, datums: Sequence[bytes | None]) -> list[dict[str, object] | DecodeError | None]:
        """Restored datums as Python values, or why one is not of the schema; None for None."""
        return decode_values(self.writer_schema, datums)


def _opened(item: Field, identities: tuple[str, ...], record: Node) -> tuple[FieldPlan, Node, Node] | None:
    where = identities[0]
    told = item.attributes.get("encryption")
    if told is None:
        return None
    if not isinstance(told, dict) or told.get("version") != 1 or told.get("format") not in ("record", "leased"):
        raise DeclarationError(f"{where}: `encryption` is malformed or of an unknown version", path=where)
    original = parse(dump(told.get("type")))
    plain = item.node.kind == "bytes"
    nullable = item.node.kind == "union" and sorted(b.kind for b in item.node.inner) == ["bytes", "null"]
    hides = told.get("null") == "encrypt"
    if not (plain or nullable) or (nullable and null_index(original) is None):
        raise DeclarationError(f"{where}: its type does not fit its `encryption`", path=where)
    kind, null, symbols = kind_of(original, hides)
    explicit = told.get("descriptor")
    plan = FieldPlan(
        where, explicit or default_descriptor(where), explicit is not None, told.get("keyset"), told["format"],
        tuple(told.get("context", ())), tuple(told.get("bind", ())), "encrypt" if hides else "keep",
        tuple(told.get("index", ())), kind, null, symbols, field_fingerprint(original), dump(to_json(original)),
    )  # fmt: skip
    return plan, original, item.node


def _restore(item: Field, covered: Covered) -> Field:
    attributes = {k: v for k, v in item.attributes.items() if k not in ("encryption", "order")}
    told = item.attributes["encryption"]
    if "default" in told:
        attributes["default"] = told["default"]
    return Field(item.name, covered.original, attributes)


def _structure(value: Any) -> Any:
    """A schema's JSON with nothing that parsers judge differently, such as logical types and defaults."""
    if isinstance(value, list):
        return [_structure(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        k: _structure(v) if k in ("type", "items", "values", "fields") else v for k, v in value.items() if k in _KEPT
    }


def sealed_types(output_schema: str) -> dict[str, Any]:
    """The type that stands in each encrypted field's place, by identity, as JSON values."""
    walker = Walker(_opened)
    walker.root(parse(output_schema))
    return {c.plan.identity: to_json(c.sealed) for c in walker.covered}


def schema_fingerprint(schema: str) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, 8 bytes, little-endian."""
    return canonical_fingerprint(parse(schema))
