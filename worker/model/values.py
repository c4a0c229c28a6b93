"""Values that a field's logical type can't read: the base value, and a word that it is one."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T", int, str, bytes)


class BaseValue:
    """
    A value as its Avro base type carries it, where the logical type has no reading of it.

    It equals its base value and is used like it: an `int` of microseconds in the year 12000, the `str` "n/a" in a uuid
    field. `logical_type` names the type that the field has.
    """

    logical_type: str


class BaseInt(BaseValue, int):
    """An int or a long that its date, time or timestamp can't hold."""


class BaseText(BaseValue, str):
    """A string that is no uuid in its one canonical form."""


class BaseBytes(BaseValue, bytes):
    """Bytes that are no number."""


def base_value(value: T, logical_type: str) -> T:
    """Mark a base value."""
    kind = BaseInt if isinstance(value, int) else BaseText if isinstance(value, str) else BaseBytes
    marked = kind(value)
    marked.logical_type = logical_type
    return marked
