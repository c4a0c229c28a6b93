"""What callers pass, as far as a type checker would have told them: refused by name, before anything is asked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from worker.errors import ConfigError
from worker.model import PolicyCondition

T = TypeVar("T")
CLOSED = "this client is closed; make another, or use it within its `with` block"


def names(value: Collection[str], what: str) -> tuple[str, ...]:
    """Return several names; a single text would be taken for its letters."""
    if isinstance(value, str | bytes) or not isinstance(value, Collection):
        raise ConfigError(f"{what} is several texts, as ({value!r},), not one {type(value).__name__}")
    for name in value:
        text(name, f"each of {what}")
    return tuple(value)


def text(value: object, what: str) -> str:
    """Return a text; half a character would fail the calls of others that share its request."""
    if not isinstance(value, str):
        raise ConfigError(f"{what} is a text, not a {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{what} holds a lone surrogate, which UTF-8 can't carry") from None
    return value


def mapping(value: object, what: str, example: str) -> Mapping[str, Any]:
    """Return names and what they stand for."""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{what} is a mapping, as {example}, not a {type(value).__name__}")
    return value


def schema(value: object) -> str | None:
    """Return a schema's text, None for none."""
    if value is not None and not isinstance(value, str):
        raise ConfigError(f"a schema is its JSON text (json.dumps(...)), not a {type(value).__name__}")
    return value


def conditions(value: Sequence[PolicyCondition]) -> tuple[PolicyCondition, ...]:
    """Return the conditions of a policy."""
    if not isinstance(value, Sequence) or not all(isinstance(each, PolicyCondition) for each in value):
        raise ConfigError('a policy is a list of conditions, as [PolicyCondition("sub", "...")]')
    return tuple(value)


def several(values: Iterable[T], what: str, one: str) -> list[T]:
    """Return values as a list; one value instead of several would be taken for its parts."""
    if isinstance(values, str | bytes | bytearray | memoryview | Mapping) or not isinstance(values, Iterable):
        raise ConfigError(f"{what} are several; for one there is {one}")
    if hasattr(values, "columns"):
        # Its parts would be the names of its columns.
        raise ConfigError(f"{what} are of one field; a {type(values).__name__} has encrypt_table and decrypt_table")
    if getattr(values, "hasnans", False):
        raise ConfigError(f"{what} lack some, which pandas shows as NaN, a number: leave them out (.dropna())")
    return list(values)


def keys_of(keys: Sequence[bytes | None] | None, count: int) -> list[bytes | None]:
    """Return a key, or None, for each of so many records."""
    if keys is None:
        return [None] * count
    if isinstance(keys, bytes | str) or len(keys) != count:
        raise ConfigError(f"keys has a key, or None, for each of the {count} records")
    for key in keys:
        if key is not None and not isinstance(key, bytes | bytearray | memoryview):
            raise ConfigError(f"a record's key is its bytes, not a {type(key).__name__}")
    return [None if key is None else bytes(key) for key in keys]


def errors(value: object) -> None:
    """Refuse what says neither of the two things that may be done with errors."""
    if value not in ("raise", "return"):
        raise ConfigError(f"errors is 'raise' or 'return', not {value!r}")
