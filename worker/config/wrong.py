"""What is said of a wrong value: where it stands, who gave it, and what was meant; never the value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.config.known import Place, at, elsewhere, kinds_at, meant, names_at, variable

_CLOSE = 0.8
_IN_TOML = {
    "tuple_type": 'is a list, as ["..."]',
    "list_type": 'is a list, as ["..."]',
    "dict_type": "is a table, as { ... }",
}


@dataclass(frozen=True, slots=True)
class Given:
    """
    Who gave what, each nested as in the file.

    Args:
        path: the file.
        merged: all of it, the nearest word winning.
        environment: what variables gave.
        overrides: what `--set` gave.
    """

    path: Path
    merged: Mapping[str, Any]
    environment: Mapping[str, Any]
    overrides: Mapping[str, Any]

    def whence(self, place: Place) -> str:
        """Return who gave a value in words; empty for the file, which every message begins with."""
        if at(self.overrides, place) is not None:
            return f"--set {'.'.join(map(str, place))}"
        if at(self.environment, place) is not None:
            return f"environment variable {variable(place)}"
        return ""


def describe(error: ValidationError, given: Given) -> str:
    """Write one line per wrong value."""
    found = [(item["type"], tuple(item["loc"]), item["msg"]) for item in error.errors(include_input=False)]
    # A list whose only item is wrong counts as empty besides.
    echoes = {place for kind, place, _ in found if kind == "too_short"}
    echoes = {place for place in echoes if any(other[: len(place)] == place != other for _, other, _ in found)}
    return "\n".join(_line(kind, place, message, given) for kind, place, message in found if place not in echoes)


def _line(kind: str, found: Place, message: str, given: Given) -> str:
    place = _as_written(found, given.merged)
    whence = given.whence(place)
    told = {"extra_forbidden": _unknown, "missing": _missing, "union_tag_invalid": _of_no_kind}.get(kind)
    if kind in ("list_type", "tuple_type") and place == ("routes",):
        return "  routes: each begins with [[routes]], in two brackets"
    what = _IN_TOML.get(kind, message.removeprefix("Value error, ")) if told is None else told(place, given)
    route = at(given.merged, (*place[:2], "name")) if place[:1] == ("routes",) and len(place) > 2 else None
    of_route = f" (route {route})" if isinstance(route, str) else ""
    return f"  {'.'.join(map(str, place)) or '(whole file)'}{of_route}{f' ({whence})' if whence else ''}: {what}"


def _as_written(found: Place, values: Mapping[str, Any]) -> Place:
    """Return a place without the words that tell which of two kinds a section is: no file has them."""
    place: Place = ()
    for part in found:
        here = at(values, place)
        if isinstance(here, Mapping) and part == here.get("kind") and part not in here:
            continue
        place = (*place, part)
    return place


def _unknown(place: Place, given: Given) -> str:
    *section, last = place
    name = str(last)
    known = names_at(section, at(given.merged, (*section, "kind")))
    # A letter too few or too many is nearer than the same name elsewhere.
    close = meant(name, known, cutoff=_CLOSE)
    if not close and (other := elsewhere(name)):
        return f"there is no such setting here; it stands under [{other}]"
    if near := close or meant(name, known):
        return f"there is no such setting; did you mean {near}?"
    return f"there is no such setting; there are {', '.join(known)}"


def _of_no_kind(place: Place, given: Given) -> str:
    kinds = kinds_at(place)
    near = meant(str(at(given.merged, (*place, "kind"))), kinds)
    return f"kind is one of {', '.join(map(repr, kinds))}" + (f"; did you mean {near}?" if near else "")


def _missing(place: Place, _given: Given) -> str:
    names = [part for part in place if isinstance(part, str)]
    numbered = len(names) < len(place)
    how = "" if numbered else f", or as --set {'.'.join(names)}=... or {variable(names)}"
    return f"is missing; give it in the file{how}"
