"""The regions' files and the chart's values say the same, and the worker takes them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from worker import config

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
REGIONS = sorted(path.stem for path in (DEPLOY / "regions").glob("*.toml"))


def values(region: str) -> dict[str, Any]:
    text = (DEPLOY / "helm" / "residency" / "values" / f"{region}.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


@pytest.mark.parametrize("region", REGIONS)
def test_the_chart_s_values_hold_the_region_s_file(region: str) -> None:
    """One configuration, whether it runs on Kubernetes or not."""
    own = tomllib.loads((DEPLOY / "regions" / f"{region}.toml").read_text(encoding="utf-8"))

    assert values(region)["region"] == own["region"] == region
    assert tomllib.loads(values(region)["worker"]["config"]) == own


@pytest.mark.parametrize("region", REGIONS)
def test_the_worker_takes_the_region_s_file(region: str) -> None:
    """It is valid as it stands, but for what must be replaced."""
    assert config.load(DEPLOY / "regions" / f"{region}.toml", environ={}).region == region


def test_each_secret_that_a_file_names_is_among_the_entries() -> None:
    """What the configuration asks for is mounted."""
    for region in REGIONS:
        settings = config.load(DEPLOY / "regions" / f"{region}.toml", environ={})
        named = {*settings.kafka.secrets.values(), *settings.schemas.secrets.values()}
        named |= {route.sink.dsn_env for route in settings.routes if route.sink.kind == "postgres"}

        assert named <= set(values(region)["worker"]["credentials"]["entries"])
