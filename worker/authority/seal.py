"""
Secrets at rest: sealed under a root key that never enters the store.

A sealed value is `01 | nonce 12 | ciphertext | 16`, AES-256-GCM, associated data = what it is and whose.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from worker.authority.files import check_secret
from worker.errors import ConfigError, unwritten

_VERSION = b"\x01"
_NONCE_BYTES = 12
ROOT_BYTES = 32


class Sealer:
    """
    Seals and opens secrets of the store.

    Args:
        root: 32 bytes; from a file, an environment variable or a key service of the operator's.
    """

    def __init__(self, root: bytes) -> None:
        if len(root) != ROOT_BYTES:
            raise ConfigError(f"the root key is {len(root)} bytes, not {ROOT_BYTES}")
        self._aead = AESGCM(root)

    def seal(self, secret: bytes, *, what: str) -> bytes:
        """Seal `secret`; `what` names the place it belongs to and must be the same when it is opened."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, secret, what.encode())

    def open(self, sealed: bytes, *, what: str) -> bytes:
        """Open a sealed secret; raises `ConfigError` for another root key or another place."""
        if sealed[:1] != _VERSION:
            raise ConfigError(f"the store's {what} has an unknown version")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, ciphertext, what.encode())
        except InvalidTag as exc:
            raise ConfigError(f"the store's {what} does not open: is this the root key it was made with?") from exc


def root_from_file(path: Path, *, create: bool = False) -> bytes:
    """Read the root key, 64 hex characters; with `create` make one, readable by its owner alone."""
    if create and not path.exists():
        _make_root(path)
    check_secret(path)
    try:
        return bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as exc:
        raise ConfigError(f"the root key file {path} can't be read as {2 * ROOT_BYTES} hex characters") from exc


def _make_root(path: Path) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as exc:
        raise unwritten(path, exc) from exc
    try:
        with os.fdopen(fd, "w") as file:
            file.write(os.urandom(ROOT_BYTES).hex())
    except OSError as exc:
        path.unlink()
        raise unwritten(path, exc) from exc


def root_key(file: Path | None, text: str | None, command: str | None) -> bytes:
    """
    Read the root key from exactly one place.

    Args:
        file: holds it in hex.
        text: is it in hex, from an environment variable.
        command: prints it in hex, such as a KMS's or a PKCS#11 token's decryption; run without a shell.

    Raises:
        ConfigError: no place or more than one, or no key in it.
    """
    if sum(given is not None for given in (file, text, command)) != 1:
        raise ConfigError("give the root key in exactly one way: a file, a variable or a command")
    if file is not None:
        return root_from_file(file)
    if command is not None:
        try:
            ran = subprocess.run(shlex.split(command), capture_output=True, check=True, timeout=30, text=True)  # noqa: S603
        except (OSError, ValueError, subprocess.SubprocessError) as exc:
            raise ConfigError(f"the root key's command failed ({type(exc).__name__})") from None
        text = ran.stdout
    try:
        return bytes.fromhex(str(text).strip())
    except ValueError:
        raise ConfigError(f"the root key is not {2 * ROOT_BYTES} hex characters") from None
