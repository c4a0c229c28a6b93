"""Values beside a declared field, in its innermost record: its key's context and its associated data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from worker.avro.logical import logical
from worker.avro.reader import Read, State, bytes_span, located, read_long
from worker.avro.schema import Node, null_index
from worker.avro.shape import Covered, Shape
from worker.errors import DecodeError, RecordError

Text = Callable[[bytes, int], "str | None"]


def text_reader(node: Node) -> Text | None:
    """How a sibling reads as text (docs/contracts.md, 2); None for a type that has no text."""
    null = null_index(node)
    if node.kind == "union":
        if len(node.inner) != 2 or null is None or (inner := text_reader(node.inner[1 - null])) is None:
            return None
        chosen = inner

        def read(data: bytes, position: int) -> str | None:
            index, position = read_long(data, position)
            return None if index == null else chosen(data, position)

        return read
    word, kind = logical(node), node.kind
    if kind == "string":
        return lambda data, p: _string(data, p).lower() if word else _string(data, p)
    if kind in ("int", "long"):
        return lambda data, p: str(read_long(data, p)[0])
    if kind == "boolean":
        return lambda data, p: "true" if data[p] else "false"
    if kind == "enum":
        symbols = node.attributes["symbols"]
        return lambda data, p: str(symbols[read_long(data, p)[0]])
    if kind == "fixed" and word == "uuid":
        return lambda data, p: str(UUID(bytes=data[p : p + 16]))
    return None


def _string(data: bytes, position: int) -> str:
    start, end = bytes_span(data, position)
    return data[start:end].decode()


class _Siblings:
    """What one record's declared fields, and extracted texts, ask of their siblings."""

    def __init__(self, shape: Shape, extract: Sequence[str]) -> None:
        self.names = [f.name for f in shape.node.fields]
        self._at = {name: i for i, name in enumerate(self.names)}
        self._texts = [text_reader(f.node) for f in shape.node.fields]
        self._extract = extract
        covered = {i: c for i, c in enumerate(shape.children) if isinstance(c, Covered)}
        self.slots = {i: c.slot for i, c in covered.items()}
        self.wanting = {i: c.plan for i, c in covered.items() if c.plan.context or c.plan.bind}

    def fill(self, data: bytes, spans: list[int], marks: dict[int, int], state: State) -> None:
        """
        Give contexts and bound bytes to the values that were just taken.

        Args:
            data: the datum.
            spans: where each field begins, and the record's end.
            marks: by field, its value's place in the column.
            state: what is filled.
        """
        for i, mark in marks.items():
            plan, slot = self.wanting[i], self.slots[i]
            if plan.context:
                context = [self._text(data, spans, name) for name in plan.context]
                if None in context:
                    raise RecordError("a context sibling is null", code="context_null", path=self.names[i])
                state.contexts[slot][mark] = tuple(t for t in context if t is not None)
            if plan.bind:
                if "$key" in plan.bind and state.key is None:
                    raise RecordError("the record has no key to bind", code="context_null", path=self.names[i])
                state.binds[slot][mark] = tuple(
                    (state.key or b"") if name == "$key" else self._bytes(data, spans, name) for name in plan.bind
                )
        if self._extract:
            state.extracted = [self._text(data, spans, n) if n in self._at else None for n in self._extract]

    def _text(self, data: bytes, spans: list[int], name: str) -> str | None:
        at = self._at[name]
        read = self._texts[at]
        return None if read is None else read(data, spans[at])

    def _bytes(self, data: bytes, spans: list[int], name: str) -> bytes:
        at = self._at[name]
        return data[spans[at] : spans[at + 1]]


def with_siblings(shape: Shape, reads: Sequence[Read], extract: Sequence[str]) -> Read | None:
    """A record's reader that fills contexts, bound bytes and extracted texts; None where nothing asks for them."""
    siblings = _Siblings(shape, extract)
    wanting, slots, names = siblings.wanting, siblings.slots, siblings.names
    if not wanting and not extract:
        return None
    steps = tuple(enumerate(reads))

    def read(data: bytes, position: int, state: State) -> int:
        spans: list[int] = []
        marks: dict[int, int] = {}
        i = 0
        try:
            for i, step in steps:
                spans.append(position)
                mark = len(state.values[slots[i]]) if i in wanting else 0
                position = step(data, position, state)
                if i in wanting and len(state.values[slots[i]]) > mark:
                    marks[i] = mark
        except (IndexError, DecodeError) as exc:
            raise located(names[i], exc) from None
        spans.append(position)
        siblings.fill(data, spans, marks, state)
        return position

    return read
