"""The examples of the SDK's docstrings run as they stand."""

from __future__ import annotations

import doctest
import importlib
import json
from types import ModuleType
from typing import Any

import pytest

from tests.unit.encryption.authority import InMemoryAuthority
from worker import Encryption, Regions, Table, output_schema

MODULES = [
    importlib.import_module(f"worker.sdk.{name}")
    for name in ("calls", "client", "records", "regions", "rows", "table_calls")
]
SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "acme.crm.Customer",
        "fields": [{"name": "id", "type": "long"}, {"name": "email", "type": "string", "encrypted": True}],
    }
)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run(module: ModuleType, authority: dict[str, str], authority_ap: dict[str, str]) -> None:
    """Each prints what it says it prints, and each module has one."""
    with Encryption.from_env(environ=authority) as eu, Encryption.from_env(environ=authority_ap) as ap:
        names: dict[str, Any] = {
            "encryption": Encryption.over(InMemoryAuthority()),
            "schema": SCHEMA,
            "output_schema": output_schema,
            "Regions": Regions,
            "Table": Table,
            "eu": eu,
            "ap": ap,
        }
        found = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)

    assert found.attempted
    assert not found.failed
