"""Names of Kafka's topics, as settings give them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_CHARACTERS = 249
_RULE = rf"^[A-Za-z0-9._-]{{1,{_CHARACTERS}}}$"


def dead_topic(source_topic: str) -> str:
    """Return the name of a source topic's dead-letter topic."""
    return f"{source_topic}.dead"


def _topic(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]+", name) or name in (".", ".."):
        raise ValueError(f"{name!r} is no topic: a name is letters, digits, '.', '_' and '-', and never a pattern")
    if len(name) > _CHARACTERS:
        raise ValueError(f"the name of a topic has at most {_CHARACTERS} characters, this one {len(name)}")
    return name


def _source(name: str) -> str:
    dead = len(dead_topic(name))
    if dead > _CHARACTERS:
        raise ValueError(
            f"the topic of its dead letters would have a name of {dead} characters, and Kafka takes {_CHARACTERS}; "
            "copy it into a topic with a shorter name"
        )
    return name


TopicName = Annotated[str, AfterValidator(_topic), Field(json_schema_extra={"pattern": _RULE})]
"""A name that Kafka takes."""

SourceTopic = Annotated[TopicName, AfterValidator(_source)]
"""The same, with room for what the name of its dead topic adds."""
