"""The program as it is called: exit codes, and errors that say what to do."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.program import said
from worker import config
from worker.cli.options import load
from worker.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]


def worker(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return said(environ, *arguments, timeout_s=50)


def test_a_wrong_setting_ends_with_2_and_its_place(tmp_path: Path) -> None:
    """A broken file refuses to start, names the place and shows no traceback."""
    path = tmp_path / "worker.toml"
    path.write_text('region = "eu-central-1"\n[kafkaa]\n')

    ended = worker("run", "--config", str(path))

    assert ended.returncode == 2
    assert "kafkaa" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_missing_credentials_end_with_2_and_their_names() -> None:
    """Without credentials the worker says which variable to set."""
    ended = worker(
        "run", "--config", "deploy/regions/eu-central-1.toml", KAFKA_PASSWORD="x", WORKER_HTTP__LISTEN="127.0.0.1:0"
    )

    assert ended.returncode == 2
    assert "CS_" in ended.stderr


def test_a_workspace_of_another_region_ends_with_3_and_both_names() -> None:
    """The first pin needs no network: a CRN of another region is refused naming both."""
    key = json.loads((ROOT / "tests/vectors/zerokms.json").read_text())["key_algebra"][0]["client_key_hex_v1"]
    credentials = {
        "CS_WORKSPACE_CRN": "crn:ap-southeast-2.aws:ZVATKW3VHMFG27DY",
        "CS_CLIENT_ID": "0f3c1c7e-6f5b-4b9a-9a58-0b6a52d9a001",
        "CS_CLIENT_KEY": key,
        "CS_CLIENT_ACCESS_KEY": "CSAKA.B",
        "WORKER_HTTP__LISTEN": "127.0.0.1:0",
    }

    ended = worker("run", "--config", "deploy/regions/eu-central-1.toml", **credentials)

    assert ended.returncode == 3
    assert "eu-central-1" in ended.stderr
    assert "ap-southeast-2" in ended.stderr
    assert key not in ended.stderr + ended.stdout


def test_the_template_is_a_valid_file_and_the_schema_is_json() -> None:
    """`config template` prints TOML, `config schema` the settings' JSON schema."""
    template, schema = worker("config", "template"), worker("config", "schema")

    assert tomllib.loads(template.stdout)["region"] == "eu-central-1"
    assert "routes" in json.loads(schema.stdout)["properties"]


def test_set_overrides_a_value_and_keeps_its_type() -> None:
    """`--set` takes TOML values; a bare word is a string."""
    path = ROOT / "deploy/regions/eu-central-1.toml"

    settings = load(path, ["keys.max_age_s=60", "delivery.mode=at-least-once"])

    assert isinstance(settings, config.Settings)
    assert settings.keys.max_age_s == 60
    assert settings.delivery.mode == "at-least-once"


@pytest.mark.parametrize("assignment", ["keys.max_age_s", "=1", ""])
def test_set_of_another_form_is_refused(assignment: str) -> None:
    """`--set` is name=value."""
    with pytest.raises(ConfigError, match="name=value"):
        load(ROOT / "deploy/regions/eu-central-1.toml", [assignment])


def test_a_file_in_the_place_of_a_directory_is_named(tmp_path: Path) -> None:
    """Before anything is read: the system's own words would be that a file exists."""
    (tmp_path / "taken").write_text("")

    ended = worker(
        "encrypt-files", str(tmp_path / "taken"), "--out", str(tmp_path / "taken"), "--config", "nothing.toml"
    )

    assert ended.returncode == 2
    assert "is a file; name the directory" in ended.stderr
