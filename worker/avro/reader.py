"""
Reading Avro binary without making values: each type becomes a function that moves a position forward.

Every function has the shape `(data, position, state) -> position` and raises `DecodeError` (or IndexError at the data's
end, which the caller turns into one). Work is bounded by the data's length: an item takes a byte, or counts against a
limit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from worker.avro.schema import MAX_NESTING
from worker.errors import DecodeError

MAX_WIDTHLESS_ITEMS = 2**20


@dataclass(slots=True)
class State:
    """
    What one walk over one datum carries along.

    Args:
        key: the record's key bytes, for `$key`.
        index: the record's index in its batch.
        values, records, contexts, binds: one list per declared field (slot), appended to during the walk.
        cuts: `(start, end, slot, prefix)` of each stretch that is replaced; slot -1 replaces by the prefix alone.
        extracted: root siblings as text, in the order asked for.
        depth: containers open in recursive schemas.
        widthless: items of no width met so far.
        most: how many cuts a record may have; None: as many as it has.
    """

    values: list[list[bytes]]
    records: list[list[int]]
    contexts: list[list[tuple[str, ...]]]
    binds: list[list[tuple[bytes, ...]]]
    key: bytes | None = None
    index: int = 0
    cuts: list[tuple[int, int, int, bytes]] = field(default_factory=list)
    extracted: list[str | None] = field(default_factory=list)
    depth: int = 0
    widthless: int = 0
    most: int | None = None

    def cut(self, start: int, end: int, slot: int, prefix: bytes) -> None:
        """Note a stretch that is replaced; raises `DecodeError` for one too many."""
        if self.most is not None and len(self.cuts) >= self.most:
            raise DecodeError(
                f"more than {self.most} declared values, nulls and sized blocks counted", code="too_large"
            )
        self.cuts.append((start, end, slot, prefix))


Read = Callable[[bytes, int, State], int]


def under(place: str, inner: str) -> str:
    """The path of `inner` within `place`."""
    return place + inner if not inner or inner[0] in "[{<" else f"{place}.{inner}"


def located(place: str, exc: IndexError | DecodeError) -> DecodeError:
    """The same fault, one level further out."""
    if isinstance(exc, DecodeError):
        exc.path = under(place, exc.path)
        return exc
    return DecodeError("the record ends early", path=place)


def read_long(data: bytes, position: int) -> tuple[int, int]:
    """A zigzag varint and the position behind it. Raises `DecodeError` for more than 64 bits."""
    byte = data[position]
    position += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), position
    value = byte & 0x7F
    for shift in range(7, 70, 7):
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return (value >> 1) ^ -(value & 1), position
    raise DecodeError("a number has more than 64 bits")


@lru_cache(1024)
def zigzag(value: int) -> bytes:
    """A long in its shortest form; used for lengths, counts and branches, most of which come again and again."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def skip_null(data: bytes, position: int, state: State) -> int:
    """A null takes no bytes."""
    return position


def skip_boolean(data: bytes, position: int, state: State) -> int:
    """Past a boolean."""
    if data[position] > 1:
        raise DecodeError("a boolean is neither 0 nor 1")
    return position + 1


def skip_int(data: bytes, position: int, state: State) -> int:
    """Past an int of at most 32 bits."""
    if data[position] < 0x80:
        return position + 1
    value, end = read_long(data, position)
    if not -(2**31) <= value < 2**31 or end - position > 5:
        raise DecodeError("an int has more than 32 bits")
    return end


def skip_long(data: bytes, position: int, state: State) -> int:
    """Past a long."""
    if data[position] < 0x80:
        return position + 1
    return read_long(data, position)[1]


def bytes_span(data: bytes, position: int) -> tuple[int, int]:
    """Start and end of a length-prefixed value. Raises `DecodeError` where the length lies."""
    length, start = read_long(data, position)
    if length < 0:
        raise DecodeError("a length is negative")
    if start + length > len(data):
        raise DecodeError("a length reaches beyond the record's end")
    return start, start + length


def skip_bytes(data: bytes, position: int, state: State) -> int:
    """Past a length and its bytes."""
    return bytes_span(data, position)[1]


def skip_string(data: bytes, position: int, state: State) -> int:
    """Past a length and its UTF-8."""
    length = data[position]
    if length < 0x80 and not length & 1:
        # Nearly every string is shorter than 64 bytes, and its length one byte.
        start = position + 1
        end = start + (length >> 1)
        if end > len(data):
            raise DecodeError("a length reaches beyond the record's end")
    else:
        start, end = bytes_span(data, position)
    try:
        str(data[start:end], "utf-8")
    except UnicodeDecodeError:
        # `from None`: the cause's arguments hold the bytes themselves.
        raise DecodeError("a string is not UTF-8") from None
    return end


def fixed_reader(size: int) -> Read:
    """A reader of `size` bytes."""

    def read(data: bytes, position: int, state: State) -> int:
        position += size
        if position > len(data):
            raise DecodeError("the record ends early")
        return position

    return read


def enum_reader(count: int) -> Read:
    """A reader of an enum of `count` symbols."""

    def read(data: bytes, position: int, state: State) -> int:
        index, position = read_long(data, position)
        if not 0 <= index < count:
            raise DecodeError("an enum's index is out of range")
        return position

    return read


def union_reader(branches: list[Read]) -> Read:
    """A reader of a union."""
    count = len(branches)

    def read(data: bytes, position: int, state: State) -> int:
        index, position = read_long(data, position)
        if not 0 <= index < count:
            raise DecodeError("a union's branch index is out of range", code="union_mismatch")
        return branches[index](data, position, state)

    return read


def record_reader(names: list[str], reads: list[Read]) -> Read:
    """A reader of a record's fields in their order."""
    steps = tuple(zip(names, reads, strict=True))

    def read(data: bytes, position: int, state: State) -> int:
        name = ""
        try:
            for name, step in steps:  # noqa: B007 - named in the except
                position = step(data, position, state)
        except (IndexError, DecodeError) as exc:
            raise located(name, exc) from None
        return position

    return read


def block_reader(place: str, item: Read, widthless: bool, rewrite: bool) -> Read:
    """
    A reader of an array's or map's blocks.

    Args:
        place: `[]` or `{}`, for errors.
        item: reads one item, a map's key included.
        widthless: whether an item takes no bytes; such items are counted, not visited.
        rewrite: turn sized blocks into plain ones, since what is inside changes its length.
    """

    def blocks(data: bytes, position: int, state: State) -> int:
        while True:
            start = position
            count, position = read_long(data, position)
            if count == 0:
                return position
            end = -1
            if count < 0:
                count = -count
                size, position = read_long(data, position)
                end = position + size
                if size < 0 or end > len(data):
                    raise DecodeError("a block's size is wrong")
                if rewrite:
                    state.cut(start, position, -1, zigzag(count))
            if widthless:
                state.widthless += count
                if state.widthless > MAX_WIDTHLESS_ITEMS:
                    raise DecodeError(f"more than {MAX_WIDTHLESS_ITEMS} items of no width", code="too_large")
            elif count > len(data) - position:
                raise DecodeError("a block's count reaches beyond the record's end")
            else:
                for _ in range(count):
                    position = item(data, position, state)
            if end >= 0 and position != end:
                raise DecodeError("a block's size is wrong")

    def read(data: bytes, position: int, state: State) -> int:
        try:
            return blocks(data, position, state)
        except (IndexError, DecodeError) as exc:
            raise located(place, exc) from None

    return read


def map_item(value: Read) -> Read:
    """A reader of a map's key and value."""

    def read(data: bytes, position: int, state: State) -> int:
        return value(data, skip_string(data, position, state), state)

    return read


def nested(inner: Read) -> Read:
    """Count one level of nesting around `inner`."""

    def read(data: bytes, position: int, state: State) -> int:
        state.depth += 1
        if state.depth > MAX_NESTING:
            raise DecodeError(f"the record nests over {MAX_NESTING} deep", code="too_large")
        position = inner(data, position, state)
        state.depth -= 1
        return position

    return read
