"""What every section of the settings is made of."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

_LAST_PORT = 65_535


def host_and_port(listen: str) -> tuple[str, int]:
    """Return where to listen, an IPv6 address without its brackets; raises `ValueError` where it is no host:port."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ValueError(f"{listen!r} is not host:port, with a port up to {_LAST_PORT}")
    return host.strip("[]"), int(port)


class Options(BaseModel):
    """
    One section: frozen, and an unknown key is refused.

    The sentence under each option is its description, in docs/contracts.md and in the JSON schema of the settings
    (`worker.cli.described`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
