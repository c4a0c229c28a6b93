"""Schemas that others refer to, put in their order of dependence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.avro.schema import parse
from worker.errors import DeclarationError


def in_order(texts: Mapping[str, str]) -> Sequence[str]:
    """
    Return schemas so that each stands behind those it refers to.

    Args:
        texts: by the name that messages give each.

    Raises:
        DeclarationError: some refer to types that none of them defines, or to each other.
    """
    rest, ordered = dict(texts), list[str]()
    while rest:
        refusals = {}
        for name, text in rest.items():
            try:
                parse(text, ordered)
            except DeclarationError as exc:
                refusals[name] = exc
            else:
                ordered.append(text)
                del rest[name]
                break
        else:
            name, first = next(iter(refusals.items()))
            raise DeclarationError(f"{name}: {first}", path=first.path) from first
    return ordered
