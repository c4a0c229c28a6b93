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
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.exchange import Keyset, LoadedKeyset
from worker.zerokms.keys.index import IndexKeys

Index = Literal["unique", "match"]
Term = str | list[int]
_FEW = (PlaintextKind.BOOLEAN, PlaintextKind.ENUM)


class Terms:
    """
    Query terms of one client's keysets; thread-safe.

    Args:
        service: the client's key service.
        max_age_s: how long an index key is used without asking again.
    """

    def __init__(self, service: object, *, max_age_s: float) -> None:
        self._service = service
        self._keys = IndexKeys(self.load, max_age_s=max_age_s)

    def query(self, field: str, value: object, *, index: Index, schema: str | None, keyset: str | None) -> Term:
        """Return a term; see `Encryption.query_term`."""
        try:
            return query_term(lambda: self._keys.get(keyset).index_key, value, index=index, schema=schema)
        except (ConfigError, RecordError) as exc:
            raise type(exc)(f"{field}: {exc}") from None

    def load(self, ref: str | None) -> LoadedKeyset:
        """Ask for a keyset and its index key, past what is held."""
        return self._client("has no index keys").load_keyset(ref, fresh=True)

    def keysets(self) -> list[Keyset]:
        """Return the workspace's keysets."""
        return self._client("lists no keysets").list_keysets()

    def _client(self, lacks: str) -> ZeroKMSClient:
        if not isinstance(self._service, ZeroKMSClient):
            raise ConfigError(f"this client is over a key service that {lacks}")
        return self._service


def query_term(secret: Callable[[], bytes], value: object, *, index: Index, schema: str | None) -> Term:
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
