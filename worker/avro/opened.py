"""An output schema read back: which fields are envelopes, and what they are restored to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, cast

from worker.avro.batch import SplitBatch, Splitter
from worker.avro.copies import original
from worker.avro.decode import decode_value, decode_values
from worker.avro.descriptors import default_descriptor, spread
from worker.avro.native import program
from worker.avro.schema import Field, Node, dump, null_index, parse, to_json
from worker.avro.sealed import without_declarations
from worker.avro.shape import Covered, Shape, Walker, exchanged, field_fingerprint, kind_of
from worker.avro.text import Columns, json_texts
from worker.errors import DeclarationError, DecodeError
from worker.model import FieldPlan, Split
from worker.native import IS_LOADED, extension
from worker.native.split import SpanSplit


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
                "that the worker made (`worker plan --json SCHEMA` prints it as `output_schema`)",
                path=self.names[0],
            )

    def split(
        self,
        payloads: Sequence[bytes],
        keys: Sequence[bytes | None],
        most: int | None = None,
        every: int | None = None,
    ) -> SplitBatch:
        """
        Take output datums apart into columns of envelopes; joining plaintexts restores the original datums.

        A record of more than `most` envelopes fails before they are taken; raises `OverflowError` for more than `every`
        of all records.
        """
        return self._splitter.split(payloads, keys, most=most, every=every)

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

    def texts(self, datums: Sequence[bytes | None]) -> tuple[Columns, dict[int, DecodeError]]:
        """What a line of JSON says of each restored datum, or why one is not of the schema; see `json_texts`."""
        return json_texts(self.writer_schema, datums)


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


def sealed_types(output_schema: str) -> dict[str, Any]:
    """The type that stands in each encrypted field's place, by identity, as JSON values."""
    walker = Walker(_opened)
    walker.root(parse(output_schema))
    return {c.plan.identity: to_json(c.sealed) for c in walker.covered}
