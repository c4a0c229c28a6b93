"""EQL: an envelope and its search terms as the JSON payload that CipherStash's clients and functions read."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import orjson

from worker.model.rows import ColumnType, Indexed
from worker.sink.postgres import wire
from worker.sink.postgres.fit import Fit, Misfit
from worker.sink.postgres.table import Column

_JSONB = 3802
_COMPOSITE = "eql_v2_encrypted"
_DOMAIN_3 = "eql_v3_"


def eql_fit(kind: ColumnType, column: Column, table: str) -> Fit:
    """
    Return how an encrypted field's envelopes get into an EQL column: jsonb, or one of EQL's own types.

    Those are the composite `eql_v2_encrypted` (version 2), and the domains `eql_v3_*` over jsonb (version 3).

    Raises:
        Misfit: it is none of these, or the field's format is not `record`, which EQL alone reads.
    """
    if kind.encrypted != "record":
        raise Misfit("eql holds the record format only")
    name = column.declared.rpartition(".")[2].strip('"')
    version = 3 if column.is_domain and name.startswith(_DOMAIN_3) else 2
    if column.unwritable:
        raise Misfit(f"it is {column.unwritable}, and takes no value")
    if column.kind == "c" and name == _COMPOSITE:
        put: wire.Encode = _composite
    elif column.type in ("json", "jsonb"):
        put = wire.jsonb if column.type == "jsonb" else _as_it_is
    else:
        raise Misfit(f"eql needs jsonb, {_COMPOSITE} or a domain {_DOMAIN_3}*")
    return Fit(lambda value: put(orjson.dumps(payload(table, column.name, value, version))))


def _as_it_is(data: bytes) -> bytes:
    return data


def _composite(data: bytes) -> bytes:
    return wire.composite(_JSONB)(wire.jsonb(data))


def payload(table: str, column: str, value: bytes | Indexed, version: int) -> Mapping[str, object]:
    """
    Return an EQL payload.

    Args:
        table: where it stands.
        column: likewise.
        value: a `record` envelope's MessagePack, with its search terms where it is indexed.
        version: 2 or 3.

    Raises:
        ValueError: the envelope is not of the `record` format.

    Source:
        docs/contracts.md, 4: a record envelope begins with 0x95 or 0x96.
    """
    envelope, terms = value if isinstance(value, Indexed) else (value, {})
    if envelope[:1] not in (b"\x95", b"\x96"):
        raise ValueError("not an envelope of the record format")
    kind = {"k": "ct"} if version == 2 else {}
    text = base64.b85encode(envelope).decode("ascii")
    return {"v": version, **kind, "i": {"t": table, "c": column}, "c": text, **terms}
