"""Walking what may hold itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from worker.avro.schema import Node

_T = TypeVar("_T")


def each_once(top: _T, inside: Callable[[_T], Iterable[_T]]) -> Iterator[_T]:
    """Everything reachable from `top` by `inside`, itself first, each once."""
    seen: set[int] = set()
    stack = [top]
    while stack:
        found = stack.pop()
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            stack.extend(inside(found))


def inner(node: Node) -> list[Node]:
    """The types that a type is made of."""
    return [*node.inner, *(field.node for field in node.fields)]
