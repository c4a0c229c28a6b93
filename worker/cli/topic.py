"""The topic that `worker decrypt` reads: its cluster, and each record's schema."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from worker import config
from worker.assembly.connections import checked_connection, kafka_connection
from worker.assembly.schemas import open_registry, output_schemas
from worker.avro import parse_frame
from worker.checks import pins
from worker.checks.findings import enforce
from worker.cli.summary import bars
from worker.config.sections import broker_addresses, registry_addresses
from worker.errors import ConfigError, RecordError
from worker.kafka.properties import Property
from worker.kafka.whole import read_batches
from worker.model import Batch, SourceRecord
from worker.region import Region

SchemaOf = Callable[[SourceRecord], tuple[str, int]]
"""A record's schema, and where its datum begins; raises `RecordError`."""


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic and how its cluster is reached.

    Args:
        name: the topic's.
        connection: the cluster's properties, secrets included.
        cluster_id: the cluster that it must be; None takes any.
    """

    name: str
    connection: Mapping[str, Property]
    cluster_id: str | None

    @classmethod
    def of(
        cls, name: str, settings: config.Settings | None, bootstrap: str | None, assignments: Sequence[str]
    ) -> Topic:
        """Read the command's options; raises `ConfigError`."""
        properties: dict[str, str] = {}
        for number, assignment in enumerate(assignments, 1):
            label, found, value = assignment.partition("=")
            if not found or not label:
                # What stands there may be a secret without its name.
                raise ConfigError(f"--property: number {number} of them is not name=value")
            properties[label] = value
        if settings is None:
            if bootstrap is None:
                raise ConfigError("give --config or --bootstrap: which cluster is the topic in?")
            return cls(name, checked_connection(_addresses(bootstrap), properties), None)
        kafka = settings.kafka
        if bootstrap is not None:
            kafka = kafka.model_copy(update={"bootstrap": _addresses(bootstrap)})
        # Another cluster than the region's is not this region's pin to check.
        pin = None if bootstrap else kafka.cluster_id
        return cls(name, kafka_connection(kafka, os.environ, overrides=properties), pin)

    def batches(self, *, since_ms: int | None) -> Generator[Batch]:
        """Yield the topic's records up to its present end, with a bar on a terminal."""
        done = 0
        with bars(shown=True) as move:
            for batch in read_batches(self.name, self.connection, cluster_id=self.cluster_id, since_ms=since_ms):
                yield batch
                done += len(batch)
                move({self.name: (done, 0)})

    def schemas(self, settings: config.Settings | None, text: str | None, registry: str | None) -> SchemaOf:
        """Return what tells a record's schema: one for all, or the registry by each record's id."""
        if text is not None and registry is not None:
            raise ConfigError("give --schema or --registry, not both")
        if text is not None:
            fixed = text
            return lambda record: (fixed, parse_frame(record.value or b"", record.headers)[1])
        # A registry of the command line is another one than the settings', which gets none of their secrets.
        own = settings.schemas if settings is not None and registry is None else _named(registry)
        if settings is not None and own.local:
            return partial(_local, output_schemas(settings, os.environ))
        if own.registry is None:
            raise ConfigError("give --schema with the output schema's file, or --registry with the registry's URL")
        source = open_registry(own, os.environ, own.registry, auto_register=False)
        if settings is not None and registry is None:
            enforce(pins.registry(Region(settings.region), source, own.allow_hosts))

        def of(record: SourceRecord) -> tuple[str, int]:
            ref, start = parse_frame(record.value or b"", record.headers)
            return source.get(ref).schema, start

        return of


def _addresses(bootstrap: str) -> str:
    try:
        return broker_addresses(bootstrap)
    except ValueError as exc:
        raise ConfigError(f"--bootstrap: {exc}") from None


def _named(registry: str | None) -> config.SchemaSettings:
    try:
        return config.SchemaSettings(registry=None if registry is None else registry_addresses(registry))
    except ValueError as exc:
        raise ConfigError(f"--registry: {exc}") from None


def _local(outputs: Mapping[int, str], record: SourceRecord) -> tuple[str, int]:
    ref, start = parse_frame(record.value or b"", record.headers)
    if ref.id is None or ref.id not in outputs:
        raise RecordError(
            f"[schemas.local] has no schema whose output_id is {ref}; is it a topic that the worker wrote?",
            code="unknown_schema",
        )
    return outputs[ref.id], start
