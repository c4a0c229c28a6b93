"""A broker's refusal says what is missing on what, or whose credentials or certificate are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from worker.kafka.refusals import Refusals, missing_right, refusal


@dataclass
class Error:
    """A `KafkaError` as the client library makes it."""

    code: str
    text: str = ""

    def name(self) -> str:
        return self.code

    def str(self) -> str:
        return self.text


def test_a_missing_right_is_named_with_its_resource() -> None:
    """What the caller knows of the right stands in the message."""
    error = Error("TOPIC_AUTHORIZATION_FAILED")

    assert "lacks Read on topic t " in str(missing_right(error, {"TOPIC": "Read on topic t", "GROUP": "x"}))


@pytest.mark.parametrize("code", ["GROUP", "TRANSACTIONAL_ID", "CLUSTER", "TOPIC", "DELEGATION_TOKEN"])
def test_every_authorization_error_is_one(code: str) -> None:
    """An authorization error is recognised whatever it is about."""
    assert missing_right(Error(f"{code}_AUTHORIZATION_FAILED")) is not None


def test_another_error_is_no_missing_right() -> None:
    """A timeout says nothing of rights."""
    assert missing_right(Error("_TIMED_OUT")) is None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (Error("_AUTHENTICATION", "SASL authentication error: invalid credentials"), "refuses these credentials"),
        (Error("_TRANSPORT", "error:0A000086:SSL routines::certificate verify failed"), "is not trusted"),
        (Error("_SSL", "anything"), "is not trusted"),
        (Error("_TRANSPORT", "SSL routines::ssl/tls alert bad certificate: SSL alert 42"), "refuses our certificate"),
        (Error("_TRANSPORT", "SSL routines::unexpected eof while reading"), ""),
        (Error("_TRANSPORT", "Connection refused"), ""),
        (Error("_ALL_BROKERS_DOWN", "1/1 brokers are down"), ""),
    ],
)
def test_refusals_are_told_from_outages(error: Error, says: str) -> None:
    """Refused credentials and certificates are recognised; a lost connection is none of them."""
    found = refusal(error)

    assert says in found
    assert bool(found) == bool(says)


def test_the_last_refusal_is_remembered() -> None:
    """An outage behind a refusal does not hide it."""
    refusals = Refusals()
    refusals(Error("_AUTHENTICATION", "no"))
    refusals(Error("_ALL_BROKERS_DOWN", "1/1 brokers are down"))

    assert "refuses these credentials" in refusals.reason
