"""What a schema says about encryption, and the values that it concerns within a batch."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

Format = Literal["record", "leased"]


class PlaintextKind(StrEnum):
    """How the `record` format carries a field's value (docs/contracts.md, 4)."""

    BOOLEAN = "boolean"
    INT = "int"
    LONG = "long"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    ENUM = "enum"
    DATE = "date"
    TIMESTAMP_MS = "timestamp-millis"
    AVRO = "avro"


@dataclass(frozen=True, slots=True)
class FieldPlan:
    """
    One declared field: which key, which format, what is bound.

    Args:
        identity: `<record full name>/<path>`, computed from the writer's schema.
        descriptor: what the envelope carries: the declared one or the identity, 1-255 bytes of UTF-8.
        descriptor_is_explicit: whether the schema named it.
        keyset: name or uuid as declared, None for the client's own default.
        format: `record` or `leased`.
        context: names of the siblings sent in the key's context, in declared order.
        bind: names of the siblings (or `$key`) in the associated data, in declared order.
        null: `keep` leaves a null visible, `encrypt` hides it.
        index: search terms to write beside the value in `eql` columns.
        kind: typed plaintext of the non-null branch, `AVRO` where only the fallback is exact.
        null_branch: index of the null branch where the type is a union of null and one other, else None.
        symbols: an enum's symbols in order, else empty.
        fingerprint: 8 bytes, CRC-64-AVRO of the field type's parsing canonical form, little-endian.
        schema: the field's own type as self-contained JSON text.
    """

    identity: str
    descriptor: str
    descriptor_is_explicit: bool
    keyset: str | None
    format: Format
    context: tuple[str, ...]
    bind: tuple[str, ...]
    null: Literal["keep", "encrypt"]
    index: tuple[str, ...]
    kind: PlaintextKind
    null_branch: int | None
    symbols: tuple[str, ...]
    fingerprint: bytes
    schema: str


@dataclass(frozen=True, slots=True)
class EncryptionPlan:
    """
    What a schema says about encryption, compiled once per schema id.

    Args:
        name: the root's full name, or `a|b` for a root that is a union of records.
        fields: every declared field, in the order in which the walk meets them.
        input_schema: the writer's schema, JSON text.
        output_schema: the derived one, JSON text (docs/contracts.md, 3).
        is_clear: whether the schema declares nothing, and no field of it arrives encrypted.
    """

    name: str
    fields: tuple[FieldPlan, ...]
    input_schema: str = field(repr=False)
    output_schema: str = field(repr=False)
    is_clear: bool = False


@dataclass(slots=True)
class ValueColumn:
    """
    All values of one declared field within a batch.

    Encrypting, `values` are the fields' whole Avro binary (union index included); decrypting, they are envelopes. A
    null that the plan keeps visible is not in the column.

    Args:
        plan: what is declared of the field.
        values: n byte strings.
        records: n indexes into the batch, ascending, for errors.
        contexts: n tuples of context texts in the order of `plan.context`; None where the field has no context.
        binds: n tuples of bound bytes in the order of `plan.bind`; None where it binds nothing.
    """

    plan: FieldPlan
    values: list[bytes] = field(default_factory=list, repr=False)
    records: list[int] = field(default_factory=list, repr=False)
    contexts: list[tuple[str, ...]] | None = field(default=None, repr=False)
    binds: list[tuple[bytes, ...]] | None = field(default=None, repr=False)

    def drop(self, records: Collection[int]) -> None:
        """Take the values of some records out."""
        kept = [n for n, i in enumerate(self.records) if i not in records]
        if len(kept) == len(self.records):
            return
        self.values = [self.values[n] for n in kept]
        self.records = [self.records[n] for n in kept]
        if self.contexts is not None:
            self.contexts = [self.contexts[n] for n in kept]
        if self.binds is not None:
            self.binds = [self.binds[n] for n in kept]
