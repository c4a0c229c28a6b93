"""Access tokens for Kafka: read anew at each refresh, refused before the broker would, never shown."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.fakes.keyservice import Clock
from worker.errors import ConfigError, SourceUnavailable
from worker.kafka.oauth import OauthOptions, OauthTokens
from worker.kafka.properties import connection_properties

OAUTH = {"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER"}


def jwt(exp: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps({"sub": "worker", "exp": exp}).encode()).decode().rstrip("=")
    return f"e30.{payload}.c2ln"


def tokens(file: Path, clock: Clock, lifetime_s: float | None = None) -> OauthTokens:
    return OauthTokens(OauthOptions(token_file=str(file), lifetime_s=lifetime_s), clock=clock)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "token"


def test_the_file_is_read_anew_at_each_refresh(file: Path) -> None:
    """A token that was replaced in the file is the one that the next refresh gives, with its own expiry."""
    supply = tokens(file, Clock())
    file.write_text(jwt(1_000_000_000) + "\n")
    first = supply("")
    file.write_text(jwt(2_000_000_000))

    second = supply("")

    assert (first[1], second[1]) == (1_000_000_000, 2_000_000_000)
    assert second[0] == jwt(2_000_000_000)


def test_an_expired_token_is_refused_and_not_shown(file: Path) -> None:
    """An expired token is refused with its age and without itself."""
    clock = Clock()
    supply = tokens(file, clock)
    file.write_text(jwt(clock() - 30))

    with pytest.raises(ConfigError, match="expired 30 s ago") as caught:
        supply("")

    assert jwt(clock() - 30) not in str(caught.value)


@pytest.mark.parametrize("content", ["", " \n", "two words", "opaque", jwt("soon"), "a.%%%.c", "a.W10.c"])
def test_what_is_no_token_of_known_life_is_refused(file: Path, content: str) -> None:
    """Nothing, several words, and a token without a readable expiry are refused."""
    file.write_text(content)

    with pytest.raises(ConfigError):
        tokens(file, Clock())("")


def test_an_opaque_token_lasts_as_the_operator_says(file: Path) -> None:
    """With `lifetime_s` a token that is no JWT passes."""
    clock = Clock()
    file.write_text("opaque")

    assert tokens(file, clock, lifetime_s=60)("") == ("opaque", clock() + 60)


def test_a_missing_file_is_refused(file: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(ConfigError, match=str(file)):
        tokens(file, Clock())("")


def test_a_command_prints_the_token() -> None:
    """A command's standard output is the token."""
    command = (sys.executable, "-c", "print('opaque')")

    found, _ = OauthTokens(OauthOptions(command=command, lifetime_s=60))("")

    assert found == "opaque"


@pytest.mark.parametrize("program", ["import sys; sys.exit(3)", "import time; time.sleep(60)"])
def test_a_command_that_fails_is_asked_again(program: str) -> None:
    """A command that fails or hangs is an outage, not a matter of configuration."""
    options = OauthOptions(command=(sys.executable, "-c", program), timeout_s=0.5)

    with pytest.raises(SourceUnavailable):
        OauthTokens(options)("")


def test_a_command_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A program that does not exist is a matter of configuration."""
    with pytest.raises(ConfigError, match="can't be run"):
        OauthTokens(OauthOptions(command=(str(tmp_path / "missing"),)))("")


@pytest.mark.parametrize("options", [{}, {"token_file": "/t", "command": ("c",)}])
def test_one_source_of_tokens_is_named(options: dict[str, object]) -> None:
    """Neither or both of file and command are refused."""
    with pytest.raises(ValidationError):
        OauthOptions.model_validate(options)


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {**OAUTH, "sasl.mechanisms": "PLAIN"},
        {**OAUTH, "security.protocol": "SSL"},
        {**OAUTH, "sasl.oauthbearer.method": "oidc"},
    ],
)
def test_tokens_need_the_mechanism_that_takes_them(file: Path, properties: dict[str, str]) -> None:
    """Tokens with another mechanism, without SASL, or beside librdkafka's own supply are refused."""
    with pytest.raises(ConfigError, match="oauth"):
        connection_properties("b:9092", properties, tokens=tokens(file, Clock()))


def test_tokens_reach_every_client(file: Path) -> None:
    """The supply of tokens is part of what every client is told."""
    supply = tokens(file, Clock())

    assert connection_properties("b:9092", OAUTH, tokens=supply)["oauth_cb"] is supply
