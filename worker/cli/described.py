"""
The sentences under the options, as their descriptions.

pydantic can read them when a class is made (`use_attribute_docstrings`), which parses each class's source at every
start of every command; here they are read when somebody asks.
"""

from __future__ import annotations

import ast
import inspect
import sys
from functools import lru_cache

from pydantic import BaseModel

from worker.config.known import models


def describe(model: type[BaseModel]) -> None:
    """Give a model's fields, and those of the models within, what stands under them."""
    for below in dict.fromkeys(found for field in model.model_fields.values() for found in models(field.annotation)):
        describe(below)
    for owner in reversed(model.__mro__):
        for name, text in _sentences(owner.__module__).get(owner.__qualname__, {}).items():
            if name in model.model_fields:
                model.model_fields[name].description = text
    model.model_rebuild(force=True)


@lru_cache
def _sentences(module: str) -> dict[str, dict[str, str]]:
    """Return, by class and attribute, the strings that follow a module's annotated attributes."""
    if not module.startswith("worker."):
        return {}
    found: dict[str, dict[str, str]] = {}
    for item in ast.parse(inspect.getsource(sys.modules[module])).body:
        if isinstance(item, ast.ClassDef):
            pairs = zip(item.body, item.body[1:], strict=False)
            found[item.name] = {
                name.target.id: inspect.cleandoc(text.value.value)
                for name, text in pairs
                if isinstance(name, ast.AnnAssign)
                and isinstance(name.target, ast.Name)
                and isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            }
    return found
