"""Python values as Avro binary: only those that come back as they are."""

from __future__ import annotations

import contextlib
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from worker.avro.logical import Logical, Unfit, logical, logical_values
from worker.avro.reader import under, zigzag
from worker.avro.schema import Node, parse
from worker.errors import RecordError
from worker.model.values import BaseValue

Write = Callable[[Any], bytes]
T = TypeVar("T")
_BITS = {"int": 31, "long": 63}
_FLOATS = {"float": struct.Struct("<f"), "double": struct.Struct("<d")}


def encode_value(schema: str, value: object) -> bytes:
    """
    A Python value as bare Avro.

    Raises:
        RecordError: it is no value of the type, or would not come back as it is: digits too many, an unknown or missing
            key, a datetime without a zone. The message says where and what is wanted, and never the value.
    """
    with told():
        return _writer(schema)(value)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Let the message of what refuses a value begin with where it stands."""
    try:
        yield
    except RecordError as exc:
        raise RecordError(f"{exc.path}: {exc}" if exc.path else str(exc), code=exc.code, path=exc.path) from None


@lru_cache(maxsize=256)
def _writer(schema: str) -> Write:
    return _Writers().of(parse(schema))


class _Writers:
    def __init__(self) -> None:
        self._made: dict[int, Write] = {}
        self._nodes: list[Node] = []

    def of(self, node: Node) -> Write:
        key = id(node)
        if key not in self._made:
            self._nodes.append(node)
            self._made[key] = lambda value: self._made[key](value)
            self._made[key] = self._make(node)
        return self._made[key]

    def _make(self, node: Node) -> Write:
        plain = self._plain(node)
        found = logical_values(node)
        return plain if found is None else _logical_writer(found, plain, logical(node))

    def _plain(self, node: Node) -> Write:
        kind = node.kind
        if kind in ("int", "long"):
            return _integer_writer(kind)
        if kind in ("float", "double"):
            return _float_writer(kind)
        if kind == "enum":
            return _enum_writer(node.attributes["symbols"])
        if kind == "fixed":
            return _fixed_writer(node.attributes["size"])
        if kind == "record":
            return _record_writer({f.name: self.of(f.node) for f in node.fields})
        if kind == "array":
            return _array_writer(self.of(node.inner[0]))
        if kind == "map":
            return _map_writer(self.of(node.inner[0]))
        if kind == "union":
            return _union_writer([(branch, self.of(branch)) for branch in node.inner])
        return {"null": _null, "boolean": _boolean, "bytes": _bytes, "string": _string}[kind]


def unfit(message: str) -> RecordError:
    """Return the refusal of a value that is none of its type."""
    return RecordError(message, code="union_mismatch")


def within(place: str, step: Callable[[Any], T], value: object) -> T:
    """Take a value that stands within another; a refusal says where."""
    try:
        return step(value)
    except RecordError as exc:
        exc.path = under(place, exc.path)
        raise


def _logical_writer(found: Logical, plain: Write, word: str) -> Write:
    def write(value: object) -> bytes:
        if isinstance(value, BaseValue) and value.logical_type == word:
            # What decryption had to show as its base value goes back as that.
            if isinstance(found.read(value), BaseValue):
                return plain(value)
            raise unfit(f"a base value that a {word} has a reading of")
        try:
            return plain(found.write(value))
        except Unfit as exc:
            raise unfit(str(exc)) from None

    return write


def _null(value: object) -> bytes:
    if value is not None:
        raise unfit("the type is null, and the value is none")
    return b""


def _boolean(value: object) -> bytes:
    if not isinstance(value, bool):
        raise unfit("a boolean is a bool")
    return b"\1" if value else b"\0"


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes | bytearray):
        raise unfit("bytes are bytes")
    return zigzag(len(value)) + bytes(value)


def _string(value: object) -> bytes:
    if not isinstance(value, str):
        raise unfit("a string is a str")
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise unfit("the text holds a lone surrogate, which UTF-8 can't carry") from None
    return zigzag(len(data)) + data


def _integer_writer(kind: str) -> Write:
    limit = 2 ** _BITS[kind]

    def write(value: object) -> bytes:
        if not isinstance(value, int) or isinstance(value, bool) or not -limit <= value < limit:
            raise unfit(f"the type is {kind}: an int of {_BITS[kind] + 1} bits")
        return zigzag(int(value))

    return write


def _float_writer(kind: str) -> Write:
    form = _FLOATS[kind]

    def write(value: object) -> bytes:
        if not isinstance(value, float | int) or isinstance(value, bool):
            raise unfit(f"the type is {kind}: a float")
        try:
            data = form.pack(value)
            exact = form.unpack(data)[0] == value or math.isnan(value)
        except OverflowError:
            exact = False
        if not exact:
            raise unfit(f"the number is none that a {kind} holds exactly")
        return data

    return write


def _enum_writer(symbols: list[str]) -> Write:
    written = {symbol: zigzag(i) for i, symbol in enumerate(symbols)}

    def write(value: object) -> bytes:
        if not isinstance(value, str) or value not in written:
            raise unfit("the text is no symbol of the enum")
        return written[value]

    return write


def _fixed_writer(size: int) -> Write:
    def write(value: object) -> bytes:
        if not isinstance(value, bytes | bytearray) or len(value) != size:
            raise unfit(f"a fixed of this type is {size} bytes")
        return bytes(value)

    return write


def _record_writer(writes: Mapping[str, Write]) -> Write:
    def write(value: object) -> bytes:
        if not isinstance(value, Mapping):
            raise unfit("a record is a dict")
        if missing := [name for name in writes if name not in value]:
            raise unfit(f"the record lacks {', '.join(missing)}; a default is not filled in, since it would come back")
        if len(value) != len(writes):
            raise unfit(f"the record has keys that its type has not: {', '.join(writes)} are all")
        return b"".join([within(name, step, value[name]) for name, step in writes.items()])

    return write


def _array_writer(item: Write) -> Write:
    def write(value: object) -> bytes:
        if not isinstance(value, list):
            raise unfit("an array is a list")
        items = [within("[]", item, v) for v in value]
        return (zigzag(len(items)) + b"".join(items) if items else b"") + b"\0"

    return write


def _map_writer(inner: Write) -> Write:
    def write(value: object) -> bytes:
        if not isinstance(value, Mapping):
            raise unfit("a map is a dict")
        items = [within("{}", _string, k) + within("{}", inner, v) for k, v in value.items()]
        return (zigzag(len(items)) + b"".join(items) if items else b"") + b"\0"

    return write


class _SeveralBranches(RecordError):
    """Which type was meant is not to be told, and one of them may declare what another has in the clear."""


def _union_writer(branches: list[tuple[Node, Write]]) -> Write:
    places = [(branch.kind, zigzag(i), write) for i, (branch, write) in enumerate(branches)]
    # A whole number comes back as one, where a branch for it is there.
    integers_first = sorted(places, key=lambda place: place[0] in _FLOATS)
    alone = [branch.kind for branch, _ in branches if branch.kind != "null"]
    named = {branch.branch: zigzag(i) for i, (branch, _) in enumerate(branches)}
    writes = {branch.branch: write for branch, write in branches}

    def write(value: object) -> bytes:
        if isinstance(value, tuple):
            if len(value) != 2 or not isinstance(value[0], str) or value[0] not in named:
                raise unfit(f"a branch is named as (name, value), with one of {', '.join(named)}")
            return named[value[0]] + writes[value[0]](value[1])
        refusal, found = None, list[bytes]()
        for kind, index, step in integers_first if isinstance(value, int) else places:
            try:
                found.append(index + step(value))
            except _SeveralBranches:
                raise
            except RecordError as exc:
                refusal = exc if [kind] == alone else refusal
            if found and not isinstance(value, Mapping):
                return found[0]
        if len(found) > 1:
            fits = [name for name, index in named.items() if any(each.startswith(index) for each in found)]
            raise _SeveralBranches(
                f"the value is of several branches of the union: name the one that is meant, as ({fits[0]!r}, value); "
                f"it fits {', '.join(fits)}",
                code="union_mismatch",
            )
        if found:
            return found[0]
        if refusal is not None and value is not None:
            raise refusal
        raise unfit("the value is of no branch of the union")

    return write
