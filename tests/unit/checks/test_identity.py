"""What a worker's identity may is asked of the authority before the first record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.unit.authority.conftest import access_key
from worker import config
from worker.assembly.graph import Graph
from worker.authority.dev import DevAuthority
from worker.checks.identity import check_identity
from worker.finding import Finding


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevAuthority]:
    with DevAuthority("eu-central-1", tmp_path_factory.mktemp("dev")) as running:
        yield running


def told(dev: DevAuthority, directory: Path, role: str, passing: str) -> list[Finding]:
    path = directory / "worker.toml"
    path.write_text(
        f"""
region = "eu-central-1"
authority = {{ allow_hosts = ["{urlsplit(dev.url).netloc}"] }}
kafka = {{ bootstrap = "b:9092", cluster_id = "c" }}
[schemas]
registry = "https://registry.eu-central-1.internal"
[encryption]
keysets = ["default"]
[[routes]]
name = "customers"
group = "g"
source = {{ topics = ["customers"] }}
sink = {{ kind = "kafka", topic = "customers.enc" }}
{passing}
""",
        encoding="utf-8",
    )
    key = access_key(dev, dev.env["CS_CLIENT_ID"], role)
    with Graph(config.load(path, environ={}), {**dev.env, "CS_CLIENT_ACCESS_KEY": key}) as graph:
        return check_identity(graph)


@pytest.mark.parametrize(
    ("role", "passing", "refused"),
    [
        ("writer", 'already_encrypted = "pass"', True),
        ("writer", 'already_encrypted = "pass"\nverify = "none"', False),
        ("writer", "", False),
        ("member", 'already_encrypted = "pass"', False),
    ],
)
def test_a_route_that_opens_what_passes_needs_the_right_to(
    dev: DevAuthority, tmp_path: Path, role: str, passing: str, refused: bool
) -> None:
    """`pass` with an identity that may not retrieve is refused, by the route's name and with the way out."""
    broken = [f for f in told(dev, tmp_path, role, passing) if f.is_broken]

    assert [f.name for f in broken] == (["customers: already encrypted"] if refused else [])
    assert all('verify = "none"' in f.sides + f.remedy for f in broken)
