"""What brokers refuse, in words that an operator can act on; the same for reading and writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Needs = Mapping[str, str]
"""What a call takes: the kind of thing it touches (`TOPIC`, `GROUP`, `TRANSACTIONAL`, `CLUSTER`) to the right."""

_USUAL: Needs = {
    "TOPIC": "Read, Write or Describe on the topic",
    "GROUP": "Read on the consumer group",
    "TRANSACTIONAL": "Write on the transactional id",
    "CLUSTER": "Create on the topic, or IdempotentWrite on brokers before 3.0",
}
_CERTIFICATE = ("certificate", "unknown ca", "handshake failure", "wrong version number", "unsupported protocol")
_PROTOCOL = ("incorrect security.protocol", "plaintext broker listener", "plaintext listener")
_SILENCES = {
    "_TRANSPORT": "no broker answers",
    "_ALL_BROKERS_DOWN": "no broker answers",
    "_TIMED_OUT": "no answer in time",
    "_TIMED_OUT_QUEUE": "no answer in time",
    "UNKNOWN_TOPIC_OR_PART": "it does not exist, or is hidden from this identity",
    "_UNKNOWN_TOPIC": "it does not exist, or is hidden from this identity",
    "_RESOLVE": "the brokers' name does not resolve",
    "LEADER_NOT_AVAILABLE": "a partition has no leader",
    "NOT_COORDINATOR": "the group's coordinator is being elected",
    "COORDINATOR_NOT_AVAILABLE": "the group's coordinator is being elected",
    "COORDINATOR_LOAD_IN_PROGRESS": "the group's coordinator is being elected",
}
_TEXT_CHARACTERS = 300


class ClientError(Protocol):
    """A `KafkaError`."""

    def name(self) -> str:
        """Its constant's name."""
        ...

    def str(self) -> str:
        """The client library's own words, which hold addresses and reasons but no credential."""
        ...


def missing_right(error: ClientError, needs: Needs | None = None) -> str | None:
    """
    Return what an authorization error says is to be granted; None for any other error.

    Args:
        error: the broker's answer.
        needs: what the call takes, as `{"TOPIC": "Read on topic customers"}`; without it the usual.
    """
    name = error.name()
    if not name.endswith("_AUTHORIZATION_FAILED"):
        return None
    needed = {**_USUAL, **(needs or {})}.get(name.split("_")[0], "a right")
    return f"this identity lacks {needed} ({name}); grant it (docs/delivery.md, least rights)"


def named(error: ClientError) -> str:
    """Return an error's name, with words before it where it says too little."""
    words = _SILENCES.get(error.name())
    return error.name() if words is None else f"{words} ({error.name()})"


class Refusals:
    """
    Remembers what one client's brokers last said of its identity or its certificates; serves as an `error_cb`.

    A client only ever reports such things beside the call that waits, which then ends as a mere timeout.
    """

    def __init__(self) -> None:
        self.reason = ""

    def __call__(self, error: ClientError) -> None:
        """Note an error, if it is of that kind."""
        self.reason = refusal(error) or self.reason


def refusal(error: ClientError) -> str:
    """Return what to do about an error of identity or certificates, empty for any other one."""
    text = error.str()[:_TEXT_CHARACTERS]
    if error.name() in ("_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"):
        return f"the broker refuses these credentials: {text}; mend sasl.* under [kafka] properties, secrets or oauth"
    lowered = text.lower()
    if any(words in lowered for words in _PROTOCOL):
        return f"another protocol is spoken there: {text}; mend security.protocol under [kafka] properties, or the port"
    if error.name() == "_SSL" or ("ssl" in lowered and any(word in lowered for word in _CERTIFICATE)):
        if "alert" in lowered:
            return f"the broker refuses our certificate: {text}; mend ssl.certificate.* and ssl.key.*"
        return f"the broker's certificate is not trusted: {text}; mend ssl.ca.location or the broker's address"
    return ""
