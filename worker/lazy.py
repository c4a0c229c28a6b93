"""Packages whose parts are imported when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def parts(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """
    Return a package's `__getattr__`.

    Args:
        package: its name.
        modules: name of a part -> the module that has it.
    """

    def part(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return part
