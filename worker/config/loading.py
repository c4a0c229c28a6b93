"""Command line, environment and file, merged and checked."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from worker.config.environment import from_environment, refuse_unknown
from worker.config.settings import Settings
from worker.config.wrong import Given, describe
from worker.errors import ConfigError


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
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as exc:
        raise ConfigError(f"{path}: can't be read: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: is not TOML: {exc}") from exc
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
    for name in settings.schemas.local:
        if not name.isdigit():
            raise ConfigError(f"{path}:\n  schemas.local.{name}: the key is a schema id, a whole number")
