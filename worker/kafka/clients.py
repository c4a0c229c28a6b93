"""librdkafka's clients, or why there are none; each logs as `ClientLog` does."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, libversion
from confluent_kafka.admin import AdminClient

from worker.errors import ConfigError, SinkUnavailable, SourceUnavailable, TransientError, WorkerError
from worker.kafka.log import ClientLog
from worker.kafka.verdict import error_of

# Names of things, no secrets: an error of the library may quote them.
_PLAIN = re.compile(
    r"bootstrap\.servers|security\.protocol|sasl\.mechanisms?|(group|client|transactional)\.id|.*\.location"
)
_SECRET = re.compile(r"password|secret|username|token|oauth|\.pem$|\.config$")
_Client = TypeVar("_Client", Consumer, Producer, AdminClient)


def library_version() -> str:
    """Return librdkafka's own version."""
    return str(libversion()[0])


def make_consumer(properties: Mapping[str, Any], *, late: Callable[[], None] = lambda: None) -> Consumer:
    """
    Return a consumer.

    Args:
        properties: librdkafka's.
        late: called, on the thread that polls, where requests had no answer in time.

    Raises:
        ConfigError: a property is unknown or has a value that the client refuses.
        SourceUnavailable: there is no access token now.
    """
    return _made(Consumer, properties, SourceUnavailable, ClientLog(late=late))


def make_producer(properties: Mapping[str, Any], *, lost: Callable[[], None] = lambda: None) -> Producer:
    """
    Return a producer; raises `ConfigError` as `make_consumer` does, or `SinkUnavailable` without a token.

    Args:
        properties: librdkafka's.
        lost: called, on the thread that polls, for each connection that ends or can't be made.
    """
    return _made(Producer, properties, SinkUnavailable, ClientLog(lost))


def make_admin(properties: Mapping[str, Any], *, unavailable: type[TransientError] = SinkUnavailable) -> AdminClient:
    """Return an administrative client; raises `ConfigError` as `make_consumer` does, or `unavailable`."""
    return _made(AdminClient, properties, unavailable)


def _made(
    make: Callable[..., _Client],
    properties: Mapping[str, Any],
    unavailable: type[TransientError],
    log: ClientLog | None = None,
) -> _Client:
    try:
        return make(dict(properties), logger=log or ClientLog())
    except KafkaException as exc:
        raise _unmade(exc, unavailable, properties) from None


def _unmade(exc: KafkaException, unavailable: type[TransientError], properties: Mapping[str, Any]) -> WorkerError:
    """Return why a client could not be made: no access token, or a property, by its name and never its value."""
    if error_of(exc).code() == KafkaError.SASL_AUTHENTICATION_FAILED:
        return unavailable("no access token for Kafka; the log says why (kafka_token_unusable)")
    text = str(error_of(exc).str())
    named = re.search(r'property:? "([A-Za-z0-9_.]+)"', text)
    if named is None and not any(value in text for value in _told(properties)):
        return ConfigError(f"librdkafka refuses the Kafka properties: {text}; see [kafka] properties and secrets")
    where = f"Kafka property {named[1]}" if named else "a Kafka property"
    return ConfigError(f"{where} is unknown to librdkafka or has a value it refuses; see librdkafka's CONFIGURATION.md")


def _told(properties: Mapping[str, Any]) -> list[str]:
    """Return the values that the library's text must not hold: what may be a secret."""
    texts = {name: value for name, value in properties.items() if isinstance(value, str) and value}
    return [v for name, v in texts.items() if _SECRET.search(name) or (len(v) > 5 and not _PLAIN.fullmatch(name))]
