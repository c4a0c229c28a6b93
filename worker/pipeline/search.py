"""Search terms beside envelopes: for the fields that declare an `index` and that a table stores as EQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from worker.avro import decode_value, encode_value
from worker.encryption.plaintext import JSON, TEXT, to_typed
from worker.encryption.terms import IndexKey, match, unique
from worker.model import FieldPlan, ValueColumn

Terms = Mapping[bytes, Mapping[str, object]]
"""By envelope, which is never the same twice: the value's `hm` and `bf`."""


class SearchTerms:
    """
    Makes the terms of a route's indexed fields.

    Args:
        index_key: a keyset's index key, by name or uuid text; raises as `IndexKeys.get`.
        default_keyset: for fields that name none.
        columns: the fields of a record that are stored as EQL.
    """

    def __init__(
        self, index_key: Callable[[str | None], bytes], *, default_keyset: str | None, columns: Collection[str]
    ) -> None:
        self._index_key, self._default_keyset, self._columns = index_key, default_keyset, frozenset(columns)

    def wants(self, fields: Sequence[FieldPlan]) -> bool:
        """Whether one of these fields has terms."""
        return any(self._applies(plan) for plan in fields)

    def of(self, columns: Sequence[ValueColumn], envelopes: Sequence[Sequence[bytes]]) -> Terms:
        """
        Return the terms of values that were sealed.

        Args:
            columns: the values.
            envelopes: aligned with them; what was not sealed is empty.
        """
        found: dict[bytes, Mapping[str, object]] = {}
        for column, sealed in zip(columns, envelopes, strict=True):
            if self._applies(column.plan):
                make = self._maker(column.plan)
                found |= {e: make(value) for value, e in zip(column.values, sealed, strict=True) if e}
        return found

    def _applies(self, plan: FieldPlan) -> bool:
        return bool(plan.index) and plan.identity.partition("/")[2] in self._columns

    def _maker(self, plan: FieldPlan) -> Callable[[bytes], Mapping[str, object]]:
        keyset = self._default_keyset if plan.keyset is None else plan.keyset
        key = IndexKey(self._index_key(keyset))
        typed_of = to_typed(plan)

        def make(value: bytes) -> Mapping[str, object]:
            typed = typed_of(value)
            if typed[1] == JSON:
                # A number or a length in more bytes than it needs: equal values must have equal terms.
                typed = typed_of(encode_value(plan.schema, decode_value(plan.schema, value)))
            terms: dict[str, object] = {}
            if "unique" in plan.index:
                terms["hm"] = unique(key, typed)
            if "match" in plan.index and typed[1] == TEXT:
                terms["bf"] = match(key, typed[2:].decode())
            return terms

        return make
