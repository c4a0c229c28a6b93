"""One route of the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from worker.options import Options
from worker.pipeline.keys import KeyFormat, KeyPolicy
from worker.pipeline.options import ResidencyOptions
from worker.sink.kafka import KafkaSinkOptions
from worker.sink.postgres import PostgresSinkOptions
from worker.source.options import SourceOptions

SinkOptions = Annotated[KafkaSinkOptions | PostgresSinkOptions, Field(discriminator="kind")]


class RouteSettings(Options):
    """`[[routes]]`: one source, one sink, one consumer group, one loop."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """The route's name, in metrics, logs and dead letters."""
    group: str = Field(min_length=1)
    """Its consumer group, which no other route has."""
    source: SourceOptions
    """Where records come from."""
    sink: SinkOptions
    """Where they go: `kind = "kafka"` or `kind = "postgres"`."""
    residency: ResidencyOptions | None = None
    """Which region a record's data subject belongs to; None takes every record for this region's."""
    already_encrypted: Literal["refuse", "pass"] = "refuse"
    """`pass` lets a field that is encrypted already go through, once its envelope opens; else it is refused."""
    verify: Literal["open", "none"] = "open"
    """
    Of `already_encrypted = "pass"`: `open` opens every envelope; `none` looks at form, descriptor and keyset alone, and
    what passes is not counted as encrypted.
    """
    erased: Literal["drop", "dead"] = "drop"
    """What becomes of a record whose subject was erased: `drop` counts it and writes it nowhere, `dead` seals it."""
    key: KeyPolicy = "clear"
    """
    `clear` writes keys as they are; `pseudonym` replaces what a key's schema declares, and a key without
    declarations or schema as a whole.
    """
    key_format: KeyFormat = "auto"
    """`avro` keys are framed by a schema id, `plain` ones are not, `auto` tells by itself."""
    subject_strategy: Literal["topic", "record", "topic-record"] = "topic"
    """How output subjects are named: `topic`, `record` or `topic-record`."""
    clear: tuple[str, ...] = ()
    """Names of records whose schemas may declare nothing; any other schema without a declaration is refused."""
