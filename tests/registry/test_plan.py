"""`worker plan --config` and the start's own check, against a real registry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tests.registry.conftest import Registry
from tests.registry.test_registry import COUNTRY, EMAIL, FLAT, ID, customer
from worker.avro import DeclarationOptions, compile_schema
from worker.cli.plan import register
from worker.errors import DeclarationError

pytestmark = [pytest.mark.heavy, pytest.mark.integration]

app = typer.Typer()
register(app)


@pytest.fixture
def asked(registry: Registry, subject: str, tmp_path: Path) -> Any:
    """Runs `plan` with the config of a route from `subject`'s topic to a topic of its own; exit code and output."""
    topic, config = subject.removesuffix("-value"), tmp_path / "worker.toml"
    config.write_text(f"""
region = "eu-central-1"
kafka = {{ bootstrap = "localhost:9092", cluster_id = "c" }}
schemas = {{ registry = "{registry.url}", allow_hosts = ["127.0.0.1"] }}
[[routes]]
name = "r"
group = "g"
source = {{ topics = ["{topic}"] }}
sink = {{ kind = "kafka", topic = "enc-{topic}" }}
""")

    def run(*schemas: dict[str, Any]) -> Any:
        paths = []
        for n, schema in enumerate(schemas):
            paths.append(str(tmp_path / f"{n}.avsc"))
            Path(paths[-1]).write_text(json.dumps(schema))
        return CliRunner().invoke(app, ["--json", "--config", str(config), *paths])

    return run


def test_plan_tells_the_verdict_of_the_sinks_subject(registry: Registry, subject: str, asked: Any) -> None:
    """First, registered, compatible and incompatible are told apart, and only the last is a negative finding."""
    schema = {**FLAT, "doc": subject}
    more = {"name": "more", "type": ["null", "string"], "encrypted": True}
    fits, breaks = customer(ID, EMAIL, COUNTRY, {**more, "default": None}), customer(ID, EMAIL, COUNTRY, more)
    first = asked(schema)
    output = compile_schema(json.dumps(schema), DeclarationOptions()).plan.output_schema
    registry.register(f"enc-{subject}", json.loads(output))
    registry.client.set_compatibility(f"enc-{subject}", "FULL")
    found = [first, asked(schema), asked(fits), asked(breaks)]

    verdicts = [json.loads(r.output)["compatibility"]["verdict"] for r in found]
    assert verdicts == ["first", "registered", "compatible", "incompatible"]
    assert [r.exit_code for r in found] == [0, 0, 0, 1]
    assert registry.client.get_versions(f"enc-{subject}") == [1]


def test_plan_without_a_file_shows_the_latest_version(registry: Registry, subject: str, asked: Any) -> None:
    """The latest version of the topic's subject is planned with its references."""
    registry.register(f"country-{subject}", {"type": "enum", "name": "n.Country", "symbols": ["DE", "AU"]})
    fields: list[dict[str, Any]] = [ID, EMAIL, {"name": "country", "type": "n.Country"}]
    registry.register(subject, customer(*fields), ("n.Country", f"country-{subject}", 1))

    value = json.loads(asked().output)

    assert [f["identity"] for f in value["fields"]] == ["acme.crm.Customer/email"]


def test_plan_refuses_what_an_earlier_version_protected(registry: Registry, subject: str, asked: Any) -> None:
    """A file that forgets a declaration of any registered version is refused before anyone registers it."""
    registry.register(subject, {**FLAT, "doc": subject})

    result = asked(customer(ID, {**EMAIL, "encrypted": False}, COUNTRY))

    assert isinstance(result.exception, DeclarationError)
    assert "Customer/email was encrypted" in str(result.exception)
