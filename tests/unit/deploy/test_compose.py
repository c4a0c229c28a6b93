"""The compose file: everything that it names is there, and the workers' settings are valid."""

from __future__ import annotations

import configparser
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components import require_program
from worker import config

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
REGIONS = ("eu-central-1", "ap-southeast-2")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_names_is_there(name: str) -> None:
    """Files, volumes and the services it waits for."""
    service = SERVICES[name]
    for mount in service.get("volumes", ()):
        source = mount.split(":")[0]
        assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], mount
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    shared = service.get("network_mode", "service:authority-eu").removeprefix("service:")
    assert shared in SERVICES


@pytest.mark.parametrize("region", REGIONS)
def test_each_region_is_complete_and_its_settings_are_valid(region: str) -> None:
    """Broker, database, authority and worker; the worker's cluster is pinned to its own broker's id."""
    short = region.partition("-")[0]
    settings = config.load(DEPLOY / "compose" / f"{region}.toml", environ={})

    assert {f"{part}-{short}" for part in ("kafka", "postgres", "authority", "worker", "load", "watch")} <= set(
        SERVICES
    )
    assert settings.region == region
    assert settings.kafka.cluster_id == SERVICES[f"kafka-{short}"]["environment"]["CLUSTER_ID"]
    assert settings.kafka.bootstrap == f"kafka-{short}:9092"
    assert SERVICES[f"postgres-{short}"]["environment"]["REGION"] == region


def test_only_loopback_reaches_the_machine() -> None:
    """Ports are published on 127.0.0.1."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_our_own_containers_are_confined() -> None:
    """Read-only root, no capabilities."""
    for name, service in SERVICES.items():
        if service["image"] == "residency-worker:local":
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name


def test_a_volume_is_writable_where_it_is_written() -> None:
    """A new volume takes owner and mode of the image's directory; without one it would be root's."""
    dockerfile = (DEPLOY / "image" / "Dockerfile").read_text(encoding="utf-8")
    written = {
        mount.split(":")[1]
        for service in SERVICES.values()
        if service["image"] == "residency-worker:local"
        for mount in service.get("volumes", ())
        if not mount.startswith(".") and not mount.endswith(":ro")
    }

    assert written == set(re.findall(r"install -d -o 10001 -g 10001 -m 700 (\S+)", dockerfile))


def test_grafana_finds_its_data_and_its_dashboards() -> None:
    """The provisioned data source is Prometheus; the dashboards' folder is the chart's."""
    files = DEPLOY / "compose" / "grafana"
    (source,) = yaml.safe_load((files / "datasources" / "prometheus.yaml").read_text())["datasources"]
    (provider,) = yaml.safe_load((files / "dashboards" / "residency.yaml").read_text())["providers"]

    assert source["type"] == "prometheus"
    mounts = dict(mount.split(":")[:2] for mount in SERVICES["grafana"]["volumes"])
    assert mounts["./helm/residency/files/dashboards"] == provider["options"]["path"]


def test_the_unit_tells_the_worker_where_each_credential_is() -> None:
    """What systemd loads is what the worker is told, under the same name."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    text = (DEPLOY / "systemd" / "residency-worker@.service").read_text(encoding="utf-8")
    parser.read_string(text)
    lines = [line.partition("=") for line in text.splitlines()]
    loaded = {value.partition(":")[0] for name, _, value in lines if name == "LoadCredential"}
    told = {value for name, _, value in lines if name == "Environment" and "_FILE=" in value}

    assert told == {f"{name}_FILE=%d/{name}" for name in loaded}
    assert int(parser["Service"]["TimeoutStopSec"]) >= 40
    assert parser["Service"]["DynamicUser"] == "yes"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """No word of it is unknown or misspelt, and what a service may do besides its work stays small."""
    program = require_program("systemd-analyze", "apt-get install -y --no-install-recommends systemd")
    text = (DEPLOY / "systemd" / "residency-worker@.service").read_text(encoding="utf-8")
    unit = tmp_path / "residency-worker@eu-central-1.service"
    unit.write_text(text.replace("/opt/worker/bin/worker", "/bin/true"), encoding="utf-8")

    verified = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, check=False)
    exposed = [program, "security", "--offline=true", "--threshold=25", str(unit)]

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    assert subprocess.run(exposed, capture_output=True, check=False).returncode == 0
