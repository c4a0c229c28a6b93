"""Secrets come from the environment, or from the file that `NAME_FILE` names."""

from __future__ import annotations

from collections.abc import Mapping

from worker.errors import ConfigError
from worker.textfile import read_text


class Prefixed(dict[str, str]):
    """Variables under the names that they have without their own prefix."""

    def __init__(self, values: Mapping[str, str], prefix: str) -> None:
        super().__init__(values)
        self.prefix = prefix


def named(environ: Mapping[str, str], name: str) -> str:
    """Return what a variable is really called: `CS_EU_CLIENT_ID` where `CS_CLIENT_ID` is meant."""
    return environ.prefix + name.removeprefix("CS_") if isinstance(environ, Prefixed) else name


def with_defaults(environ: Mapping[str, str], defaults: Mapping[str, str | None]) -> dict[str, str]:
    """Return the variables, and defaults for those that are not set or empty."""
    merged = {**environ, **{n: text for n, text in defaults.items() if text and not environ.get(n)}}
    return Prefixed(merged, environ.prefix) if isinstance(environ, Prefixed) else merged


def text(environ: Mapping[str, str], name: str) -> str:
    """
    Return a variable without what the file that it came from put around it, empty where it is not set.

    Raises:
        ConfigError: a credential stands in quotes, which the shell takes away and others keep.
    """
    value = environ.get(name, "")
    if not name.startswith("CS_"):
        # A password may begin or end with a blank, and never with a line's end.
        return value.strip("\r\n")
    value = value.strip()
    if value[:1] in ("'", '"') and value[:1] == value[-1:]:
        raise ConfigError(f"{named(environ, name)} stands in quotes; take them away: `--env-file` of Docker keeps them")
    return value


def read(environ: Mapping[str, str], name: str) -> str | None:
    """
    Return the secret `name`, or None where neither `NAME` nor `NAME_FILE` is set.

    Raises:
        ConfigError: both are set, the file can't be read, or a credential stands in quotes; the message never holds the
            content.
    """
    path = environ.get(f"{name}_FILE")
    value = text(environ, name)
    if path is None:
        return value or None
    if value:
        raise ConfigError(f"both {named(environ, name)} and {named(environ, name)}_FILE are set; keep one")
    return read_text(path, f"{named(environ, name)}_FILE = {path!r}").strip() or None


def require(environ: Mapping[str, str], name: str, why: str) -> str:
    """Return the secret `name`; raises `ConfigError` naming it and `why` where it is missing."""
    value = read(environ, name)
    if value is None:
        own = named(environ, name)
        raise ConfigError(f"{own} is not set ({why}); set it, or {own}_FILE to the path of a file that holds it")
    return value


def secrets(environ: Mapping[str, str], named: Mapping[str, str], section: str) -> dict[str, str]:
    """Return a section's `secrets`, each property with what its variable holds; raises as `require`."""
    return {name: require(environ, variable, f"{section} secrets: {name}") for name, variable in named.items()}


def with_prefix(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Return the variables `<prefix>NAME` as `CS_NAME`, so that `CS_EU_CLIENT_ID` reads as `CS_CLIENT_ID`."""
    if prefix == "CS_":
        return dict(environ)
    found = {f"CS_{name.removeprefix(prefix)}": value for name, value in environ.items() if name.startswith(prefix)}
    return Prefixed(found, prefix)
