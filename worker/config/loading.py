"""Command line, environment and file, merged and checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.config.environment import from_environment, refuse_unknown
from worker.config.settings import Settings
from worker.config.wrong import Given, describe
from worker.errors import ConfigError
from worker.textfile import read_text

_JSON = re.compile(r"\s*\{")
_YAML = re.compile(r"(?:\s*#[^\n]*\n)*\s*(?:---|[\w-]+:(?:\s|\Z))")
_ONE_ROUTE = re.compile(r"^\s*\[routes\]", re.MULTILINE)


def load(path: Path, *, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Settings:
    """
    Read the settings.

    Args:
        path: the TOML file.
        environ: the environment; only names with the prefix `WORKER_` are settings.
        overrides: values of the command line, nested as in the file; they win.

    Raises:
        ConfigError: a value is wrong, missing or unknown; the message has a line for each, with its place.
    """
    return parse(read_text(path), path, environ=environ, overrides=overrides)


def parse(text: str, path: Path, *, environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings of a file's text, as `load`; `path` names it in what is said of it."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{path}: is not TOML: {exc}{_slip(text)}") from exc
    refuse_unknown(environ)
    variables, overrides = from_environment(environ), overrides or {}
    merged = _merge(_merge(values, variables), overrides)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as exc:
        given = Given(path, merged, variables, overrides)
        raise ConfigError(f"{path}:\n{describe(exc, given)}") from None
    _cross_check(path, settings)
    return settings


def _slip(text: str) -> str:
    """Return what was written instead of TOML, in words; empty where that can't be told."""
    if _JSON.match(text) or _YAML.match(text):
        word = "JSON" if _JSON.match(text) else "YAML"
        return f"; it is {word}: `worker config template` prints each section as TOML has it"
    return "; a route begins with [[routes]], in two brackets" if _ONE_ROUTE.search(text) else ""


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _cross_check(path: Path, settings: Settings) -> None:
    if bool(settings.schemas.registry) == bool(settings.schemas.local):
        raise ConfigError(
            f'{path}:\n  schemas: give either registry = "https://..." or [schemas.local], not both or none'
        )
    for kind in ("name", "group"):
        seen = [getattr(route, kind) for route in settings.routes]
        twice = sorted({value for value in seen if seen.count(value) > 1})
        if twice:
            raise ConfigError(
                f"{path}:\n  routes: {kind} {', '.join(map(repr, twice))} is used twice; a route has its own"
            )
    if circle := _circle(settings):
        raise ConfigError(f"{path}:\n  routes: topics feed themselves for ever: {' -> '.join(circle)}")
    for name in settings.schemas.local:
        if not name.isdigit():
            raise ConfigError(f"{path}:\n  schemas.local.{name}: the key is a schema id, a whole number")


def _circle(settings: Settings) -> Sequence[str]:
    """Return topics of which each is written from the one before it, back to the first; empty where there are none."""
    sorter = TopologicalSorter[str]()
    for route in settings.routes:
        forwarded = () if route.residency is None else route.residency.topics.values()
        for topic in (*route.sink.all_topics, *forwarded):
            sorter.add(topic, *route.source.topics)
    try:
        sorter.prepare()
    except CycleError as exc:
        found: Sequence[str] = exc.args[1]
        return found
    return ()
