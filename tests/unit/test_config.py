"""The settings: where each value comes from, and that each wrong one is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker import config, environment
from worker.app import Worker
from worker.assembly.connections import authority_client
from worker.errors import ConfigError
from worker.zerokms.derive import ClientKey, random_permutation

MINIMAL = """
region = "eu-central-1"
[kafka]
bootstrap = "kafka:9092"
cluster_id = "abc"
[schemas]
registry = "https://registry"
[[routes]]
name = "customers"
group = "g"
source = { topics = ["customers"] }
sink = { kind = "kafka", topic = "customers.enc" }
"""
REGIONS = sorted((Path(__file__).resolve().parents[2] / "deploy" / "regions").glob("*.toml"))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "worker.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", [*REGIONS, Path(config.__file__).with_name("template.toml")], ids=lambda p: p.stem)
def test_every_shipped_file_is_valid(path: Path) -> None:
    """The five regions' files and the template load as they are."""
    settings = config.load(path, environ={})

    assert path.stem in (settings.region, "template")


def test_command_line_beats_environment_beats_file(tmp_path: Path) -> None:
    """The nearest word wins, value by value."""
    text = MINIMAL + "[keys]\nmax_age_s = 10\nrequests_in_flight = 2\n[delivery]\nmax_records = 5\n"
    environ = {"WORKER_KEYS__MAX_AGE_S": "20", "WORKER_KEYS__REQUESTS_IN_FLIGHT": "3"}

    settings = config.load(written(tmp_path, text), environ=environ, overrides={"keys": {"max_age_s": 30}})

    assert settings.keys.max_age_s == 30
    assert settings.keys.requests_in_flight == 3
    assert settings.delivery.max_records == 5


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (MINIMAL + "[keyz]\n", "keyz"),
        (MINIMAL + "[keys]\nmax_age = 1\n", "keys.max_age"),
        (MINIMAL + "[delivery]\nmode = 'sometimes'\n", "delivery.mode"),
        (MINIMAL.replace('region = "eu-central-1"', ""), "region"),
        (MINIMAL.replace('topics = ["customers"]', "topics = []"), "routes.0.source.topics"),
        (MINIMAL.replace('kind = "kafka"', 'kind = "file"'), "routes.0.sink"),
        (MINIMAL.replace('registry = "https://registry"', ""), "schemas"),
        (MINIMAL + MINIMAL[MINIMAL.index("[[routes]]") :], "used twice"),
        ("region = ", "not TOML"),
    ],
)
def test_each_wrong_value_is_named_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    """A wrong, unknown or missing value refuses to start and says where it stands."""
    with pytest.raises(ConfigError, match=place):
        config.load(written(tmp_path, text), environ={})


@pytest.mark.parametrize("name", ["WORKER_KEYZ__MAX_AGE_S", "WORKER_NOPE"])
def test_an_unknown_variable_is_refused(tmp_path: Path, name: str) -> None:
    """A misspelt variable with our prefix is an error, so that no setting is lost silently."""
    with pytest.raises(ConfigError, match=name):
        config.load(written(tmp_path, MINIMAL), environ={name: "1"})


def test_a_kubernetes_service_called_worker_is_no_setting(tmp_path: Path) -> None:
    """The variables that Kubernetes makes of a Service pass; one that only looks like them does not."""
    links = {
        "WORKER_SERVICE_HOST": "10.0.0.7", "WORKER_SERVICE_PORT": "9464", "WORKER_SERVICE_PORT_HTTP": "9464",
        "WORKER_PORT": "tcp://10.0.0.7:9464", "WORKER_PORT_9464_TCP": "tcp://10.0.0.7:9464",
        "WORKER_PORT_9464_TCP_ADDR": "10.0.0.7", "WORKER_EU_SERVICE_HOST": "10.0.0.8", "WORKER_EU_PORT": "tcp://10.0.0.8:1",
    }  # fmt: skip

    assert config.load(written(tmp_path, MINIMAL), environ=links).region == "eu-central-1"
    with pytest.raises(ConfigError, match="WORKER_AP_PORT"):
        config.load(written(tmp_path, MINIMAL), environ={**links, "WORKER_AP_PORT": "1"})


def test_the_instance_name_is_no_setting(tmp_path: Path) -> None:
    """`WORKER_INSTANCE` is the one variable with the prefix that is none."""
    assert config.load(written(tmp_path, MINIMAL), environ={"WORKER_INSTANCE": "w-0"}).region == "eu-central-1"


def test_a_byte_order_mark_and_windows_lines_are_skipped(tmp_path: Path) -> None:
    """Editors of Windows write both."""
    path = tmp_path / "worker.toml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())

    assert config.load(path, environ={}).region == "eu-central-1"


def test_a_missing_file_is_named() -> None:
    """A path that can't be read is named."""
    with pytest.raises(ConfigError, match=r"/nowhere\.toml"):
        config.load(Path("/nowhere.toml"), environ={})


def test_a_secret_comes_from_its_variable_or_its_file(tmp_path: Path) -> None:
    """`NAME` or `NAME_FILE`, not both."""
    path = tmp_path / "secret"
    path.write_text("s3cret\n")

    assert environment.read({"K": "v"}, "K") == "v"
    assert environment.read({"K_FILE": str(path)}, "K") == "s3cret"
    assert environment.read({}, "K") is None
    with pytest.raises(ConfigError, match="both"):
        environment.read({"K": "v", "K_FILE": str(path)}, "K")
    with pytest.raises(ConfigError, match="K_FILE"):
        environment.read({"K_FILE": str(tmp_path / "nothing")}, "K")
    with pytest.raises(ConfigError, match="the database"):
        environment.require({}, "K", "the database")


def test_a_prefix_renames_the_variables() -> None:
    """`CS_EU_CLIENT_ID` reads as `CS_CLIENT_ID`; other regions' variables stay out."""
    environ = {"CS_EU_CLIENT_ID": "eu", "CS_AP_CLIENT_ID": "ap", "CS_CLIENT_ID": "own"}

    assert environment.with_prefix(environ, "CS_EU_") == {"CS_CLIENT_ID": "eu"}
    assert environment.with_prefix(environ, "CS_") == environ


@pytest.mark.parametrize("name", ["requests_in_flight", "keys_per_request"])
def test_bounds_of_requests_stand_once(tmp_path: Path, name: str) -> None:
    """What bounds the wire is set under [keys] and reaches the client; the old place is refused with the new one."""
    settings = config.load(written(tmp_path, MINIMAL + f"[keys]\n{name} = 7\n"), environ={})
    old = written(tmp_path, MINIMAL + f"[authority.client]\n{name} = 7\n")
    environ = {
        "CS_WORKSPACE_CRN": "crn:eu-central-1.aws:ZVATKW3VHMFG27DY",
        "CS_CLIENT_ID": "7366f130-a5f2-4f5f-a5f7-a6d1c1e9c1de",
        "CS_CLIENT_KEY": ClientKey(*map(random_permutation, (16, 16, 16, 33))).to_hex(),
        "CS_CLIENT_ACCESS_KEY": "CSAKx.y",
    }

    with authority_client(settings, environ) as client:
        assert getattr(client.options, name) == 7
    with pytest.raises(ConfigError, match=rf"authority.client: .*{name}.*\[keys\]"):
        config.load(old, environ={})


def test_every_part_of_the_revocation_bound_is_exported(tmp_path: Path) -> None:
    """Age, batch and request are told as they are configured: together they are the published bound."""
    text = MINIMAL.replace('topic = "customers.enc"', 'topic = "customers.enc", timeout_s = 20')
    settings = config.load(written(tmp_path, text + "[delivery]\nmax_latency_ms = 500\n"), environ={})

    with Worker(settings, {}) as worker:
        value = worker.metrics.registry.get_sample_value
        parts = {
            part: value("worker_revocation_bound_seconds", {"region": "eu-central-1", "part": part})
            for part in ("batch", "request")
        }

    assert parts == {"batch": 20.5, "request": 10.0}


def test_what_a_file_put_around_a_credential_is_taken_away() -> None:
    """Blanks and line ends of a Secret's or an env file are of no credential; of a password, line ends alone."""
    environ = {"CS_CLIENT_ID": " 7366f130 \r\n", "KAFKA_PASSWORD": " pass word \n", "CS_CTS_HOST": '"https://cts/"'}

    assert environment.require(environ, "CS_CLIENT_ID", "") == "7366f130"
    assert environment.require(environ, "KAFKA_PASSWORD", "") == " pass word "
    with pytest.raises(ConfigError, match="CS_CTS_HOST stands in quotes"):
        environment.text(environ, "CS_CTS_HOST")


def route(name: str, source: str, sink: str, more: str = "") -> str:
    return (
        f'[[routes]]\nname = "{name}"\ngroup = "{name}"\nsource = {{ topics = ["{source}", "other"] }}\n'
        f'sink = {{ kind = "kafka", topic = "{sink}" }}\n{more}'
    )


FORWARD = 'residency = { field = "country", foreign = "forward", topics = { "us-east-1" = "%s" } }\n'


@pytest.mark.parametrize(
    ("routes", "circle"),
    [
        (route("a", "x", "x"), "x -> x"),
        (route("a", "x", "y") + route("b", "y", "z") + route("c", "z", "x"), "x -> y -> z -> x|y -> z|z -> x"),
        (route("a", "x", "y", FORWARD % "x"), "x -> x"),
    ],
    ids=["itself", "in a circle", "forwarded"],
)
def test_topics_that_feed_themselves_are_refused(tmp_path: Path, routes: str, circle: str) -> None:
    """Named: whatever passes would be read again for ever."""
    path = tmp_path / "worker.toml"
    path.write_text(MINIMAL[: MINIMAL.index("[[routes]]")] + routes)

    with pytest.raises(ConfigError, match=f"feed themselves for ever: .*({circle})"):
        config.load(path, environ={})


def test_a_route_may_read_what_another_one_writes(tmp_path: Path) -> None:
    """A chain has an end."""
    path = tmp_path / "worker.toml"
    path.write_text(
        MINIMAL[: MINIMAL.index("[[routes]]")] + route("a", "x", "y") + route("b", "y", "z", FORWARD % "us")
    )

    assert len(config.load(path, environ={}).routes) == 2
