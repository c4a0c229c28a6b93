"""Query terms: what to look for in an index beside encrypted values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from worker.avro import encode_value
from worker.encryption.plaintext import JSON, NULL_BIT, TEXT, to_typed
from worker.encryption.terms import IndexKey, match_query, unique
from worker.encryption.values import typed_of_value
from worker.errors import ConfigError, RecordError
from worker.model import PlaintextKind
from worker.sdk.values import plan

Index = Literal["unique", "match"]
_FEW = (PlaintextKind.BOOLEAN, PlaintextKind.ENUM)


def query_term(secret: Callable[[], bytes], value: object, *, index: Index, schema: str | None) -> str | list[int]:
    """
    Return the term to look for: `hm` for equality, the bits `bf` for a match.

    Args:
        secret: returns the keyset's index key; asked for once the value is known to have a term.
        value: what is looked for.
        index: `unique` or `match`.
        schema: the field's Avro type; else as `encrypt` reads Python's types.

    Raises:
        ConfigError: the field's values are so few that a term says which it is, or the index is unknown.
        RecordError: the value has no term: null, JSON, or a text shorter than a token.
    """
    if index not in ("unique", "match"):
        raise ConfigError(f"index is 'unique' or 'match', not {index!r}")
    if isinstance(value, bool) or (schema is not None and plan(schema).kind in _FEW):
        raise ConfigError("a boolean or an enum has no term: with so few values it would say which one a row has")
    typed = typed_of_value(value) if schema is None else to_typed(plan(schema))(encode_value(schema, value))
    if typed[1] == JSON or typed[1] & NULL_BIT:
        raise RecordError("the value has no term: null, and what is carried as JSON, can't be looked for")
    if index == "match" and typed[1] != TEXT:
        raise ConfigError("a match is for texts; look for other values with index='unique'")
    key = IndexKey(secret())
    if index == "unique":
        return unique(key, typed)
    return match_query(key, typed[2:].decode())
