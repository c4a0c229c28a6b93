"""librdkafka's own lines as the worker's: structured, bounded, with whatever is bound where the client is polled."""

from __future__ import annotations

import logging
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)
_TEXT_CHARACTERS = 400
_KINDS = ("consumer", "producer")


class ClientLog:
    """
    What confluent-kafka takes for a logger: it calls `log` alone, on the thread that polls the client.

    Args:
        lost: called for each connection that ends or can't be made. The client reports only the latter as an error.
        late: called where requests had no answer in time, whose answers are dropped.
    """

    def __init__(self, lost: Callable[[], None] = lambda: None, late: Callable[[], None] = lambda: None) -> None:
        self._told = {"FAIL": lost, "REQTMOUT": late}

    def log(self, level: int, _form: str, kind: str, client: str, text: str) -> None:
        """
        Write one line.

        Args:
            level: as in `logging`; what to do about an error is the worker's to say, so none is above a warning.
            kind: librdkafka's word for it, as `FAIL` or `REQTMOUT`.
            client: the client's name, as `worker-0#consumer-3`.
            text: what happened; it names brokers and properties, and holds no record and no credential.
        """
        if tell := self._told.get(kind):
            tell()
        role = next((role for role in _KINDS if f"#{role}" in client), "client")
        _log.log(min(level, logging.WARNING), "librdkafka", kind=kind, client=role, text=text[:_TEXT_CHARACTERS])
