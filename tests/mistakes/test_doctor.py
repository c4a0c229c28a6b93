"""`worker doctor`: each address by itself, those that brokers name too, with a word on each and what to do."""

from __future__ import annotations

import json

import pytest

from tests.mistakes.program import Program
from tests.mistakes.test_check_and_run import NOWHERE, Stand, stand
from tests.proxy import Proxy

__all__ = ["stand"]
pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(120)]


def doctor(stand: Stand, program: Program) -> tuple[int, dict[str, dict[str, str]]]:
    """Return the exit code and the findings by name."""
    path = stand.site.directory / "worker.toml"
    path.write_text(stand.text)
    ended = program(["doctor", "--config", str(path), "--json"], stand.environ)
    return ended.code, {finding["name"]: finding for finding in json.loads(ended.said.splitlines()[-1])}


def test_what_is_right_is_told_too(stand: Stand, program: Program) -> None:
    """Versions, clock, disk, token and every address; a broker that says to be elsewhere is looked for there."""
    bootstrap = stand.site.kafka.bootstrap
    with Proxy(int(bootstrap.rpartition(":")[2])) as proxy:
        stand.change(bootstrap, proxy.address)
        code, found = doctor(stand, program)

    assert code == 0, found
    assert {
        "versions",
        "clock",
        "disk",
        "token",
        f"kafka {proxy.address}: port",
        f"broker {bootstrap}: port",
    } <= found.keys()
    assert {found[name]["verdict"] for name in found if name.endswith(("name", "port"))} == {"ok"}


def test_each_address_is_looked_at_by_itself(stand: Stand, program: Program) -> None:
    """A name that there is not, a port where nothing listens: both are told, with what names them."""
    stand.change(stand.site.kafka.bootstrap, "kafka.nowhere.invalid:9092")
    stand.environ |= {"CS_CTS_HOST": NOWHERE, "CS_ZEROKMS_HOST": NOWHERE}

    code, found = doctor(stand, program)

    name, port = found["kafka kafka.nowhere.invalid:9092: name"], found["cts 127.0.0.1:1: port"]
    assert (code, name["verdict"], port["verdict"]) == (1, "unreachable", "unreachable")
    assert "does not resolve; correct [kafka] bootstrap" in name["remedy"]
    assert "nothing listens there; start it, or correct CS_CTS_HOST" in port["remedy"]
