"""Records that nothing is declared of: refused by name, or told apart from what is encrypted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from worker.avro.declaration import DeclarationOptions
from worker.avro.reader import read_long
from worker.avro.shape import Shape
from worker.errors import DeclarationError, DecodeError


class Undeclared:
    """
    The records of a root that declare nothing: the root itself, or some branches of a union of records.

    Args:
        top: the root's shape.
        passed: identities of fields that arrive encrypted, which count as declared.
    """

    def __init__(self, top: Shape, passed: Collection[str]) -> None:
        self._is_union = top.node.kind == "union"
        branches = top.children if self._is_union else [top]
        clear = [(i, b) for i, b in enumerate(branches) if isinstance(b, Shape) and _is_clear(b, passed)]
        self._clear = {i: branch.node.branch for i, branch in clear}
        self._is_all = len(self._clear) == len(branches)
        self._has_fields = any(branch.node.kind == "record" for _, branch in clear)

    @property
    def is_all(self) -> bool:
        """Whether the schema declares nothing at all."""
        return self._is_all

    def refuse(self, options: DeclarationOptions) -> None:
        """Raise `DeclarationError` for a record that the route's `clear` does not list; None asks for no list."""
        if options.clear is None:
            return
        missing = [name for name in self._clear.values() if name not in options.clear]
        if missing:
            remedy = "declare what is to be encrypted" if self._has_fields else "make it a declared field of a record"
            raise DeclarationError(
                f"{', '.join(missing)} declares nothing, so every value would be written in the clear; {remedy}, "
                f"or list {', '.join(map(repr, missing))} under the route's clear",
                path=missing[0],
            )

    def places(self, values: Sequence[bytes | None], start: int) -> Sequence[int]:
        """
        Return which of the schema's records declare nothing, by their places.

        Args:
            values: the records behind their frames; malformed ones are in no answer.
            start: where in each the datum begins.
        """
        if self._is_all:
            return range(len(values))
        if not self._is_union or not self._clear:
            return ()
        return [i for i, value in enumerate(values) if _branch(value or b"", start) in self._clear]


def _is_clear(shape: Shape, passed: Collection[str]) -> bool:
    return not shape.declares and not any(identity.startswith(shape.path) for identity in passed)


def _branch(value: bytes, start: int) -> int:
    try:
        return read_long(value, start)[0]
    except (DecodeError, IndexError):
        # It has failed where it was taken apart.
        return -1
