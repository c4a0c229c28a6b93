"""One region's objects, each made when it is first asked for, all closed together."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from types import TracebackType
from typing import Self

from worker.assembly.connections import authority_client, kafka_connection
from worker.assembly.context import Context
from worker.assembly.keys import KeyCaches, key_stack
from worker.assembly.routes import RouteBuilder
from worker.assembly.schemas import open_schemas
from worker.avro import SchemaSource
from worker.config import Settings
from worker.kafka.properties import Property
from worker.metrics import Metrics
from worker.region import Region
from worker.zerokms.client import ZeroKMSClient


class Graph:
    """
    What one region's worker, or one command, needs of its region; what nobody asks for is not made.

    An object that can't be made raises each time it is asked for, so that an outage may be waited out.

    Args:
        settings: validated.
        environ: credentials, secrets and `WORKER_INSTANCE`.
        metrics: where it is measured; its own if not given.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], *, metrics: Metrics | None = None) -> None:
        self.context = Context(settings, environ, Metrics(settings.region) if metrics is None else metrics)
        self.settings = settings
        self.region = Region(settings.region)
        self._closing = ExitStack()

    @cached_property
    def connection(self) -> dict[str, Property]:
        """What every client of the region's cluster is told; raises as `kafka_connection`."""
        return kafka_connection(self.settings.kafka, self.context.environ)

    @cached_property
    def authority(self) -> ZeroKMSClient:
        """The client of the region's authority; raises as `authority_client`."""
        client = authority_client(self.settings, self.context.environ, metrics=self.context.metrics)
        self._closing.callback(client.close)
        return client

    @property
    def has_authority(self) -> bool:
        """Whether the authority's client has been made."""
        return "authority" in vars(self)

    @cached_property
    def schemas(self) -> SchemaSource:
        """The region's schemas; raises as `open_schemas`."""
        schemas = open_schemas(self.settings.schemas, self.context.environ)
        self._closing.callback(schemas.close)
        return schemas

    @cached_property
    def keys(self) -> KeyCaches:
        """The caches of keys, over the authority and the canaries of the region's cluster."""
        keys = KeyCaches(self.context, key_stack(self.context, self.authority, self.connection))
        self._closing.callback(keys.close)
        return keys

    @cached_property
    def routes(self) -> RouteBuilder:
        """What builds the routes."""
        return RouteBuilder(self.context, self.connection, self.keys, self.schemas)

    def rotate(self) -> bool:
        """Drop every key held; returns whether there were any caches."""
        made = "keys" in vars(self)
        if made:
            self.keys.rotate()
        return made

    def close(self) -> None:
        """Wipe the keys and close the connections; safe to call twice."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
