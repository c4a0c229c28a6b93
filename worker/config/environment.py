"""Which variables of the environment are settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic_settings import SettingsError
from pydantic_settings.sources import EnvSettingsSource

from worker.config.known import meant, places, variable
from worker.config.settings import PREFIX, Settings
from worker.errors import ConfigError

_NOT_SETTINGS = {"WORKER_INSTANCE", "WORKER_NATIVE", "WORKER_REQUIRE_NATIVE"}
_SERVICE_HOST = "_SERVICE_HOST"
_SERVICE_LINK = re.compile(
    r"_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?"
)


def _is_service_link(name: str, environ: Mapping[str, str]) -> bool:
    """Whether a variable is one that Kubernetes gives every pod of a namespace with a Service called `worker...`."""
    services = (host.removesuffix(_SERVICE_HOST) for host in environ if host.endswith(_SERVICE_HOST))
    return any(name.startswith(s) and _SERVICE_LINK.fullmatch(name.removeprefix(s)) for s in services)


def from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings that variables give, nested as in the file."""

    class Source(EnvSettingsSource):
        def _load_env_vars(self) -> Mapping[str, str | None]:
            return {name.lower(): value for name, value in environ.items()}

    try:
        return Source(Settings)()
    except SettingsError as exc:
        named = re.search(r'field "(\w+)"', str(exc))
        where = variable([named[1]]) if named else f"{PREFIX}..."
        raise ConfigError(f"environment variable {where}: a section as one value is JSON, and this is none") from None


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """Raise `ConfigError` where a variable has the settings' prefix and is none."""
    for name in environ:
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS and not _is_service_link(name, environ):
            head = name.removeprefix(PREFIX).split("__")[0].lower()
            if head not in Settings.model_fields:
                near = meant(name, map(variable, places()))
                asked = f"did you mean {near}?" if near else "unset it, or see `worker config reference`"
                raise ConfigError(f"environment variable {name}: there is no setting {head!r}; {asked}")
