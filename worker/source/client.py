"""A consumer, or why there is none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException

from worker.errors import ConfigError, SourceUnavailable


def make_consumer(properties: Mapping[str, Any], on_error: Callable[[KafkaError], None]) -> Consumer:
    """
    Return a consumer that logs to `librdkafka`.

    Raises:
        ConfigError: a property is unknown or has a value that the client refuses.
        SourceUnavailable: there is no access token now.
    """
    try:
        return Consumer({**properties, "error_cb": on_error}, logger=logging.getLogger("librdkafka"))
    except KafkaException as exc:
        if exc.args[0].code() == KafkaError.SASL_AUTHENTICATION_FAILED:
            raise SourceUnavailable("no access token for Kafka; the log says why (kafka_token_unusable)") from exc
        raise ConfigError(f"[kafka] properties: {exc.args[0].str()}") from exc
