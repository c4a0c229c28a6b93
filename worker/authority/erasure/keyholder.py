"""
Keys that lie outside the store, so that they can be destroyed: of epochs and of backups.

What is destroyed in a database is not gone: its log, its free pages and its copies keep it. So what must go is sealed
under a key that was never there, and that key is destroyed.
"""

from __future__ import annotations

import shlex
import subprocess
from typing import Protocol

from worker.authority.seal import ROOT_BYTES
from worker.errors import ConfigError

_TIMEOUT_S = 30


class KeyHolder(Protocol):
    """Keeps keys of 32 bytes by name."""

    destroys: bool
    """Whether a key that it destroys is gone."""

    def create(self, name: str) -> bytes:
        """Make a key; raises `ConfigError` where that fails."""
        ...

    def get(self, name: str) -> bytes:
        """Return a key; raises `ConfigError` where it is not to be had."""
        ...

    def destroy(self, name: str) -> None:
        """Destroy a key; one that is gone already is none. Raises `ConfigError` where it is still to be had."""
        ...


class CommandKeys:
    """
    A `KeyHolder` behind the operator's command, such as a key service's or an HSM's.

    It is run without a shell as `COMMAND create NAME`, which makes a key and prints it as 64 hex characters,
    `COMMAND get NAME`, which prints it, and `COMMAND destroy NAME`, which succeeds where the key is gone, now or
    before; then `get` must fail.
    """

    destroys = True

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    def create(self, name: str) -> bytes:
        """Make a key."""
        return self._key("create", name)

    def get(self, name: str) -> bytes:
        """Return a key."""
        return self._key("get", name)

    def destroy(self, name: str) -> None:
        """Destroy a key, and see that it is gone."""
        self._run("destroy", name)
        try:
            self._run("get", name)
        except ConfigError:
            return
        raise ConfigError(f"the key {name} is still to be had after the key command's destroy")

    def _key(self, verb: str, name: str) -> bytes:
        try:
            key = bytes.fromhex(self._run(verb, name).strip())
        except ValueError:
            key = b""
        if len(key) != ROOT_BYTES:
            raise ConfigError(f"the key command's {verb} of {name} prints no {2 * ROOT_BYTES} hex characters")
        return key

    def _run(self, verb: str, name: str) -> str:
        command = [*self._command, verb, name]
        try:
            return subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT_S, text=True).stdout  # noqa: S603
        except (OSError, ValueError, subprocess.SubprocessError) as exc:
            raise ConfigError(f"the key command failed to {verb} {name} ({type(exc).__name__})") from None
