"""Options that several commands share."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from worker import config, log
from worker.errors import ConfigError

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The region's TOML file.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override a setting: keys.max_age_s=60. Wins over the environment and the file."),
]
Level = Literal["debug", "info", "warning", "error"]
LogLevel = Annotated[Level, typer.Option("--log-level", help="The least level that is logged.")]
LogFormat = Annotated[
    log.LogFormat,
    typer.Option("--log-format", help="JSON Lines, or colours for people; `auto` looks at standard error."),
]


def load(
    path: Path, assignments: list[str] | None, *, log_level: Level = "info", log_format: log.LogFormat = "auto"
) -> config.Settings:
    """Read the settings with the command line's overrides and set the logs up for their region."""
    log.configure(level=log_level, form=log_format)
    overrides: dict[str, Any] = {}
    for assignment in assignments or []:
        _assign(overrides, assignment)
    settings = config.load(path, environ=os.environ, overrides=overrides)
    log.configure(region=settings.region, level=log_level, form=log_format)
    return settings


def _assign(target: dict[str, Any], assignment: str) -> None:
    name, found, text = assignment.partition("=")
    if not found or not name:
        raise ConfigError(f"--set {assignment!r} is not name=value")
    *parents, last = name.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = _value(text)


def _value(text: str) -> Any:
    """Read a TOML value; a bare word is a string."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except tomllib.TOMLDecodeError:
        return text
