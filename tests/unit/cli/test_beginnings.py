"""The first settings file: whole, valid, and with what was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from worker import config
from worker.cli.beginnings import Beginning
from worker.errors import ConfigError

HOSTS = {"CS_CTS_HOST": "http://127.0.0.1:8081/", "CS_ZEROKMS_HOST": "http://127.0.0.1:8081/"}


def beginning(**said: Any) -> Beginning:
    values: dict[str, Any] = {"schemas": ("customer.avsc",), "registry": "", "table": "", **said}
    return Beginning(
        region="on-prem-oslo", bootstrap="kafka:9092", cluster_id="abc", topic="customers", environ=HOSTS, **values
    )


@pytest.mark.parametrize(
    ("said", "routes"),
    [
        ({}, ["customers-to-topic"]),
        ({"table": "crm.customers"}, ["customers-to-topic", "customers-to-table"]),
        ({"schemas": (), "registry": "http://registry:8081"}, ["customers-to-topic"]),
    ],
)
def test_a_first_file_is_valid(tmp_path: Path, said: dict[str, object], routes: list[str]) -> None:
    """It loads as it is, with the cluster's id as a pin and the authority's hosts listed."""
    path = tmp_path / "worker.toml"
    path.write_text(beginning(**said).text())

    settings = config.load(path, environ={})

    assert [route.name for route in settings.routes] == routes
    assert settings.kafka.cluster_id == "abc"
    assert settings.authority.hosts == ("127.0.0.1:8081",)


def test_schemas_come_from_one_place() -> None:
    """Files or a registry; both, or none, is refused."""
    for said in ({"schemas": ()}, {"registry": "http://registry:8081"}):
        with pytest.raises(ConfigError, match="--schema"):
            beginning(**said).text()
