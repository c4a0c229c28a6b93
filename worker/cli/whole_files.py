"""Files sealed whole by `worker encrypt --file`: one leased envelope of the file's bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worker.authority.files import write_whole
from worker.encryption.leased import VERSION
from worker.errors import ConfigError
from worker.sdk import Encryption, Regions

_BYTES = '"bytes"'
_MAX_BYTES = 256 * 2**20


def is_one(files: Sequence[str]) -> bool:
    """Whether the only file named is such an envelope, and no container file."""
    if len(files) != 1:
        return False
    try:
        with Path(files[0]).open("rb") as file:
            return file.read(2) == bytes([VERSION, 0])
    except OSError:
        return False


def encrypt(path: Path, encryption: Encryption, field: str, out: Path) -> None:
    """Seal a file whole; raises `ConfigError` where it can't be read or is over 256 MiB."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} is over {_MAX_BYTES >> 20} MiB; a file is sealed in memory, as one value")
        data = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}") from exc
    write_whole(out, encryption.encrypt(data, field=field, schema=_BYTES, format="leased"))


def decrypt(name: str, encryption: Encryption | Regions, field: str | None, out: Path | None) -> None:
    """Open a sealed file; raises as `Encryption.decrypt`."""
    if field is None or out is None:
        raise ConfigError(f"{name} is a file of `worker encrypt`: give its --field, and --out for its bytes")
    data = encryption.decrypt(Path(name).read_bytes(), field=field, schema=_BYTES)
    write_whole(out, data)
