"""Bytes of a body into what is asked for: natively, by the protocol's models, or key by key where that takes long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from worker.authority import decoding, wire
from worker.authority.asked import Asked, NativeAsked
from worker.authority.refusal import Refusal
from worker.authority.turns import Pace
from worker.native import IS_LOADED, extension

_HEAD_BYTES = 16 * 1024
_Body = TypeVar("_Body", bound=BaseModel)


def asks_for_keys(model: type[BaseModel]) -> bool:
    """Whether bodies of a model ask for keys, and so may be long."""
    return issubclass(model, wire.Generate | wire.Retrieve)


def read(model: type[_Body], data: bytes, most: int = 1000) -> _Body | Asked:
    """Read a body; raises `ValidationError`, a 400 where it is no JSON, a 413 for more than `most` keys."""
    native = read_native(model, [data], most)
    return read_plain(model, data, most) if native is None else native


def read_native(model: type[BaseModel], parts: Sequence[bytes], most: int = 1000) -> NativeAsked | None:
    """Read a body that came in parts, if it asks for keys as they usually are."""
    if not (IS_LOADED and asks_for_keys(model)):
        return None
    native = extension.Asked.read(parts, issubclass(model, wire.Retrieve), most)
    if native is None:
        return None
    _refuse_many(len(native), most)
    _refuse_long(len(native.head))
    head: Any = model.model_validate(decoding.parse(native.head))
    return NativeAsked(native, head, sum(map(len, parts)))


def read_plain(model: type[_Body], data: bytes, most: int = 1000) -> _Body:
    """Read a body by its model at once."""
    value = decoding.parse(data)
    keys = value.get("keys") if asks_for_keys(model) and isinstance(value, dict) else None
    if isinstance(keys, list):
        _refuse_many(len(keys), most)
        if len(data) > _HEAD_BYTES:
            _refuse_long(_size({**value, "keys": []}))
    return model.model_validate(value)


def read_native_apart(model: type[BaseModel], parts: Sequence[bytes], most: int = 1000) -> NativeAsked | None:
    """Do what `read_native` does in a thread that rests after it."""
    pace = Pace()
    native = read_native(model, parts, most)
    pace.rest(least_s=0)
    return native


def read_apart(model: type[_Body], parts: Sequence[bytes], most: int = 1000) -> _Body:
    """Read what is not read natively in a thread that leaves the interpreter to others; raises as `read`."""
    pace = Pace()
    if not (IS_LOADED and asks_for_keys(model)):
        return read_plain(model, b"".join(parts), most)
    split = extension.Asked.split(parts, most)
    if split is None:
        raise decoding.no_json()
    head, count, keys = split
    _refuse_many(count, most)
    _refuse_long(len(head))
    body = model.model_validate(decoding.parse(head))
    item = wire.RetrieveItem if issubclass(model, wire.Retrieve) else wire.GenerateItem
    made = []
    for at, text in enumerate(keys):
        _refuse_long(len(text))
        made.append(_key(item, at, text))
        pace.rest()
    return body.model_copy(update={"keys": made})


def _key(item: type[wire.GenerateItem], at: int, text: bytes) -> wire.GenerateItem:
    try:
        return item.model_validate(decoding.parse(text))
    except ValidationError as exc:
        raise decoding.not_valid(exc, "keys", at) from None


def _refuse_many(count: int, most: int) -> None:
    # Before anything is done for each of them.
    if count > most:
        raise Refusal(413, f"{count} keys in one request; at most {most}")


def _refuse_long(size: int) -> None:
    if size > _HEAD_BYTES:
        raise Refusal(413, f"a key, or what stands beside the keys, is {size} bytes; at most {_HEAD_BYTES}")


def _size(value: Any) -> int:
    try:
        return len(orjson.dumps(value))
    except TypeError:
        # A number of more than 64 bits, or nested too deep: refused for that where it is looked at.
        return 0
