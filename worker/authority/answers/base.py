"""What answers have in common."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

Base64 = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]+={0,2}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""SHA-256 in hex."""
Seconds = float
"""Since 1970."""
LEFT_OUT: Any = None
"""What stands in no answer unless it has something to say."""


def _without_defaults(schema: dict[str, Any]) -> None:
    for each in schema.get("properties", {}).values():
        each.pop("default", None)


class Answer(BaseModel):
    """An answer, or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=_without_defaults)


class Refused(Answer):
    """Why there is none; `erased` are the values of the context whose keys have been erased."""

    error: str
    erased: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = LEFT_OUT


class Nothing(Answer):
    """Done."""


class Made(Answer):
    """The id of what was made."""

    id: UUID


class Message(Answer):
    """What was done."""

    message: str
