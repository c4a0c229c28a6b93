"""A compiled schema: its plan, and the way of its datums to columns and back."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any, cast

import fastavro

from worker.avro.batch import SplitBatch, Splitter
from worker.avro.canonical import canonical_fingerprint
from worker.avro.compiler import Compiler
from worker.avro.copies import renaming
from worker.avro.declaration import DeclarationOptions
from worker.avro.descriptors import spread
from worker.avro.history import SchemaVersion
from worker.avro.lineage import Lineage
from worker.avro.native import program
from worker.avro.opened import open_schema
from worker.avro.rows import RowReader, indexed
from worker.avro.schema import Field, Node, dump, parse, to_json
from worker.avro.shape import Covered, exchanged
from worker.avro.siblings import text_reader
from worker.avro.undeclared import Undeclared
from worker.errors import DeclarationError
from worker.model import Batch, EncryptionPlan, Split
from worker.model.rows import Row, RowType
from worker.native import IS_LOADED, extension
from worker.native.split import SpanSplit

# A start compiles each schema for its checks and for its first record.
_HELD = 512
_KEPT = {"type", "name", "namespace", "fields", "items", "values", "symbols", "size"}


def compile_schema(
    schema: str | SchemaVersion,
    options: DeclarationOptions,
    *,
    extract: Sequence[str] = (),
    earlier: Sequence[SchemaVersion] = (),
    later: Sequence[SchemaVersion] = (),
) -> CompiledSchema:
    """
    Compile a writer's schema, once per schema id.

    Args:
        schema: JSON text, or with it the schemas that it refers to and the registry's tags.
        options: the operator's policies.
        extract: root fields whose values are wanted as text.
        earlier: earlier versions of the subject; a declaration that one of them had may not be lost.
        later: later versions; what one of them declares is encrypted in this one too.

    Raises:
        DeclarationError: what is declared can't be kept; the message names path and remedy.
    """
    version = SchemaVersion(schema) if isinstance(schema, str) else schema
    root = parse(version.schema, version.references)
    lineage = Lineage(root, options, earlier, later)
    return CompiledSchema(root, options, version.metadata_tags, extract, lineage)


def compile_once(
    version: SchemaVersion,
    options: DeclarationOptions,
    *,
    extract: Sequence[str] = (),
    earlier: Sequence[SchemaVersion] = (),
    later: Sequence[SchemaVersion] = (),
) -> CompiledSchema:
    """Do what `compile_schema` does; who asks for the same again gets the same, which any thread may use."""
    own = (version.schema, version.references, version.metadata_tags)
    said = repr((own, options.model_dump_json(), tuple(extract), tuple(earlier), tuple(later)))
    return _held(_Asked(sha256(said.encode()).digest(), version, options, tuple(extract), earlier, later))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a compiled schema depends on; `said` is a digest of the rest, the schema's own label apart."""

    said: bytes
    version: SchemaVersion = field(compare=False)
    options: DeclarationOptions = field(compare=False)
    extract: tuple[str, ...] = field(compare=False)
    earlier: Sequence[SchemaVersion] = field(compare=False)
    later: Sequence[SchemaVersion] = field(compare=False)


@lru_cache(maxsize=_HELD)
def _held(asked: _Asked) -> CompiledSchema:
    return compile_schema(asked.version, asked.options, extract=asked.extract, earlier=asked.earlier, later=asked.later)


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
                raise DeclarationError(
                    "a root that is no record, nor a union of records, declares nothing; make it a field of a record"
                )
        compiled = _compiled(root, options, metadata_tags, lineage)
        compiled.refuse_lost()
        self.undeclared = Undeclared(compiled.top, compiled.passed)
        self.undeclared.refuse(options)
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
            is_clear=self.undeclared.is_all,
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

    def split(self, payloads: Sequence[bytes], keys: Sequence[bytes | None], most: int | None = None) -> SplitBatch:
        """Take bare datums apart into columns of declared values; a bad record is in `errors` and in no column."""
        return self._splitter.split(payloads, keys, most=most)

    def split_batch(
        self,
        batch: Batch,
        keys: Sequence[bytes | None],
        start: int,
        most: int | None = None,
        every: int | None = None,
    ) -> Split:
        """
        Take a batch of this schema's records apart.

        Args:
            batch: every record has a value.
            keys: one each, as `$key` binds them.
            start: where in each value the datum begins, behind its frame.
            most: declared values of one record; one that has more fails, before they are taken.
            every: declared values of all of them.

        Raises:
            OverflowError: together they have more values than `every`.
        """
        values = cast("Sequence[bytes]", batch.values)
        if self._program is None:
            return self._splitter.split(values, keys, start, most, every)

        def twin(at: Sequence[int]) -> Split:
            return self._splitter.split([values[i] for i in at], [keys[i] for i in at], start, most)

        spans = extension.Split(self._program, values, keys if self._binds_keys else None, start, most, every)
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


def _structure(value: Any) -> Any:
    """A schema's JSON with nothing that parsers judge differently, such as logical types and defaults."""
    if isinstance(value, list):
        return [_structure(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        k: _structure(v) if k in ("type", "items", "values", "fields") else v for k, v in value.items() if k in _KEPT
    }


def schema_fingerprint(schema: str) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, 8 bytes, little-endian."""
    return canonical_fingerprint(parse(schema))
