"""Records that fail in every way there is, each with the schema that refuses it and the one that mends it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from worker.avro import DeclarationOptions, compile_schema, encode_value, frame
from worker.avro.sealed import without_declarations
from worker.model import Header

WIDTHLESS = 2**20 + 1
"""One item of no width more than a record may have."""

_ID: dict[str, Any] = {"name": "id", "type": "string"}
_COUNTRY: dict[str, Any] = {"name": "country", "type": "string"}
_NAME: dict[str, Any] = {"name": "name", "type": "string", "encrypted": True}
_ARRIVES_SEALED: dict[str, Any] = {
    "name": "token",
    "type": "bytes",
    "encryption": {"version": 1, "type": "string", "format": "leased", "keyset": None, "context": [], "bind": []},
}
_TENANT: dict[str, Any] = {"name": "tenant", "type": ["null", "string"], "default": None}
_WITH_CONTEXT: dict[str, Any] = {"name": "note", "type": "string", "encrypted": {"context": ["tenant"]}}


@dataclass(frozen=True, slots=True)
class Poison:
    """
    One failing record.

    Args:
        code: the error's, as docs/contracts.md, 5.
        schema_id: what its frame names; unused where `raw` is given.
        values: its content, read with `mended`.
        broken: fields of the schema that the operator has under this id at first; None: no schema at all.
        mended: fields of the right schema.
        raw: the value as it stands, where it has no content.
    """

    code: str
    schema_id: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    broken: list[dict[str, Any]] | None = None
    mended: list[dict[str, Any]] = field(default_factory=list)
    raw: bytes | None = None

    @property
    def key(self) -> bytes:
        return f"poison {self.code}".encode()

    @property
    def value(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return frame(self.schema_id) + encode_value(plain(self.schema(self.mended)), self.values)

    @property
    def timestamp_ms(self) -> int:
        return 1_700_000_000_000 + self.schema_id

    @property
    def headers(self) -> list[Header]:
        """A null, an empty one, a duplicate, and bytes that are no text."""
        return [("trace", b"\0\xff"), ("trace", b"again"), ("nothing", None), ("empty", b"")]

    def schema(self, fields: list[dict[str, Any]]) -> str:
        return json.dumps({"type": "record", "name": f"acme.Case{self.schema_id}", "fields": fields})


def _values(code: str, **more: Any) -> dict[str, Any]:
    return {"id": code, "country": "DE", **more}


GOOD = Poison("", 1, {}, [_ID, _COUNTRY, _NAME], [_ID, _COUNTRY, _NAME])

RIGHT: list[dict[str, Any]] = [_ID, _COUNTRY, _NAME]
POISON = (
    Poison("bad_magic", raw=b"\7 no frame at all"),
    Poison("unknown_schema", 2, _values("unknown_schema", name="Ada Unknown"), None, RIGHT),
    Poison(
        "decode_failed",
        3,
        _values("decode_failed", name="Ada Early"),
        [*RIGHT, {"name": "more", "type": "string"}],
        RIGHT,
    ),
    Poison("trailing_bytes", 4, _values("trailing_bytes", name="Ada Trailing"), [_ID, _COUNTRY], RIGHT),
    Poison(
        "union_mismatch",
        5,
        _values("union_mismatch", choice=2**40),
        [_ID, _COUNTRY, {"name": "choice", "type": ["null", "string"], "encrypted": True}],
        [_ID, _COUNTRY, {"name": "choice", "type": ["null", "string", "long"], "encrypted": True}],
    ),
    Poison(
        "too_large",
        6,
        _values("too_large", count=WIDTHLESS, zero=0),
        [_ID, _COUNTRY, {"name": "many", "type": {"type": "array", "items": "null"}}],
        [_ID, _COUNTRY, {"name": "count", "type": "long", "encrypted": True}, {"name": "zero", "type": "long"}],
    ),
    Poison(
        "context_null",
        7,
        _values("context_null", tenant=None, note="Ada's note"),
        [_ID, _COUNTRY, _TENANT, _WITH_CONTEXT],
        [_ID, _COUNTRY, _TENANT, {**_WITH_CONTEXT, "encrypted": True}],
    ),
    Poison(
        "not_an_envelope",
        8,
        _values("not_an_envelope", token=b"\1 looks sealed"),
        [_ID, _COUNTRY, _ARRIVES_SEALED],
        [_ID, _COUNTRY, {"name": "token", "type": "bytes", "encrypted": True}],
    ),
    Poison("residency", 9, {**_values("residency", name="Ada Foreign"), "country": "FR"}, RIGHT, RIGHT),
)


_GROWING: list[dict[str, Any]] = [*RIGHT, *({"name": name, "type": "string", "encrypted": True} for name in "abcde")]
WIDE = Poison(
    "sink_rejected",
    10,
    {**_values("wide", name="n" * 19_300), **dict.fromkeys("abcde", "Ada")},
    _GROWING,
    _GROWING,
)
"""Below a topic's limit of 20,000 bytes until its six values are encrypted."""
LONG = Poison("sink_rejected", 1, {"id": "long" * 20, "country": "DE", "name": "Ada Long"}, RIGHT, RIGHT)
"""Nothing wrong, but for a table that has a rule against long ids."""
_ALL = (GOOD, WIDE, *POISON)


def plain(schema: str) -> str:
    """The schema as its writer has it, without declarations, so that any implementation takes it."""
    text: str = json.dumps(without_declarations(json.loads(schema)))
    return text


def good(number: int) -> tuple[bytes, bytes]:
    """Key and framed value of a record that passes."""
    values = {"id": f"good-{number}", "country": "DE", "name": f"Ada Good {number}"}
    return f"good-{number}".encode(), frame(1) + encode_value(plain(GOOD.schema(RIGHT)), values)


def schema_files(directory: Path, *, mended: bool) -> dict[str, tuple[Path, int]]:
    """Write every schema that the operator has now; schema id to file and output id."""
    found = {}
    for poison in (p for p in _ALL if p.raw is None):
        fields = poison.mended if mended else poison.broken
        if fields is not None:
            path = directory / f"{poison.schema_id}-{'mended' if mended else 'broken'}.avsc"
            path.write_text(poison.schema(fields), encoding="utf-8")
            found[str(poison.schema_id)] = (path, 1000 + poison.schema_id)
    return found


def output_schema(schema_id: int) -> str:
    """The output schema of a mended schema."""
    poison = next(p for p in _ALL if p.schema_id == schema_id)
    return compile_schema(poison.schema(poison.mended), DeclarationOptions()).plan.output_schema
