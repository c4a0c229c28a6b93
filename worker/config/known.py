"""Which settings there are, as paths of names, and which of them somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from worker.config.settings import PREFIX, Settings

Place = tuple[str | int, ...]


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def names_at(place: Sequence[str | int], kind: object = None) -> list[str]:
    """
    Return the settings that a section has; none where it takes any names.

    Args:
        place: the section's.
        kind: of two sections that may stand there, the `kind` of the one that does.
    """
    found = _models_at(place)
    chosen = [model for model in found if "kind" in model.model_fields and model.model_fields["kind"].default == kind]
    return list(dict.fromkeys(name for model in chosen or found for name in model.model_fields))


def kinds_at(place: Sequence[str | int]) -> list[str]:
    """Return the kinds that a section may be of."""
    return [str(model.model_fields["kind"].default) for model in _models_at(place) if "kind" in model.model_fields]


def _models_at(place: Sequence[str | int]) -> list[type[BaseModel]]:
    found: list[type[BaseModel]] = [Settings]
    names_follow = False
    for part in place:
        if isinstance(part, int) or names_follow:
            # A route's number, or a name of somebody's own.
            names_follow = False
            continue
        fields = [model.model_fields[part] for model in found if part in model.model_fields]
        names_follow = any(get_origin(field.annotation) is dict for field in fields)
        found = [below for field in fields for below in models(field.annotation)]
    return found


@cache
def places() -> tuple[tuple[str, ...], ...]:
    """Return every setting's path; those of routes without a number."""
    return tuple(_places(Settings, ()))


def _places(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        below = [] if get_origin(field.annotation) is dict else list(models(field.annotation))
        if not below:
            yield (*path, name)
        for found in below:
            yield from _places(found, (*path, name))


def variable(place: Iterable[str | int]) -> str:
    """Return the variable that a setting has in the environment."""
    return PREFIX + "__".join(map(str, place)).upper()


def meant(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return the known name that is nearest to a misspelt one, empty where none is near."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), "")


def elsewhere(name: str) -> str:
    """Return the section that has a setting of this name, empty where none or several have."""
    found = {place[:-1] for place in places() if place[-1] == name}
    return ".".join(found.pop()) if len(found) == 1 else ""


def at(values: Any, place: Sequence[str | int]) -> Any:
    """Return what stands at a place, None where nothing does."""
    for part in place:
        if isinstance(values, Mapping):
            values = values.get(str(part))
        elif isinstance(values, Sequence) and not isinstance(values, str) and isinstance(part, int):
            values = values[part] if part < len(values) else None
        else:
            return None
    return values
