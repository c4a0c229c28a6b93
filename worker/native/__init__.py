"""
The extension module of the hot path, where it was built and is wanted.

Everything that it does has a twin in plain Python, which says what it means and takes over where it is missing:
`WORKER_NATIVE=0` leaves it out, `WORKER_REQUIRE_NATIVE=1` refuses to do without it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from worker.errors import ConfigError

__all__ = ["IS_LOADED", "OFF", "REQUIRE", "extension", "is_current", "require"]

_FACE = Path(__file__).parent.with_name("_native.pyi")
OFF, REQUIRE = "WORKER_NATIVE", "WORKER_REQUIRE_NATIVE"


def _load() -> ModuleType | None:
    if os.environ.get(OFF) == "0":
        return None
    try:
        from worker import _native
    except ImportError:
        return None
    return _native if is_current(_native) else None


def is_current(module: ModuleType, face: Path = _FACE) -> bool:
    """Whether a module was built for the code beside it, told by its face; an old build may lie in a work tree."""
    try:
        return getattr(module, "INTERFACE", None) == hashlib.sha256(face.read_bytes()).hexdigest()
    except OSError:
        return True


if TYPE_CHECKING:
    from worker import _native as extension
else:
    extension = _load()

IS_LOADED: bool = extension is not None
"""Whether the extension module is used; if not, its twins are."""


def require() -> None:
    """Raise `ConfigError` where `WORKER_REQUIRE_NATIVE` asks for the extension module and it is missing."""
    if os.environ.get(REQUIRE, "0") not in ("", "0") and not IS_LOADED:
        raise ConfigError(
            f"the extension module is missing, or was built for other code, and {REQUIRE} asks for it; install a wheel "
            f"that has it, or install from source where Rust's cargo is, and leave {OFF} unset"
        )
