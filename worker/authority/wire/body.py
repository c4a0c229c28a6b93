"""What every request body has, and the values that several of them carry."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field


class Body(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    unaudited: ClassVar[frozenset[str]] = frozenset()
    """Fields that are secrets, or too large to say what was asked for."""

    def audited(self) -> dict[str, Any]:
        """Return what the audit's line of an admin action says of the request."""
        return self.model_dump(mode="json", exclude=set(self.unaudited), exclude_none=True)


def _descriptor(text: str) -> str:
    if len(text.encode()) > 512:
        raise ValueError("descriptor is longer than 512 bytes")
    return text


class ByUuid(Body):
    """A keyset by id."""

    Uuid: UUID


class ByName(Body):
    """A keyset by name."""

    Name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_/-]+$")


KeysetRef = ByUuid | ByName | UUID | None
KeysetId = Annotated[KeysetRef, Field(validation_alias=AliasChoices("keyset_id", "dataset_id"))]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_/-]+$")]
Text = Annotated[str, Field(max_length=256)]
Descriptor = Annotated[str, AfterValidator(_descriptor)]
