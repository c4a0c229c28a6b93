"""Bodies of erasures, and of a backup's expiry."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from worker.authority.wire.body import Body, KeysetId

_Name = Annotated[str, Field(min_length=1, max_length=1024)]
_Text = Annotated[str, Field(max_length=65_536)]


class Erase(Body):
    """Values of contexts, each of which is a subject by itself; the audit has their positions instead."""

    unaudited: ClassVar[frozenset[str]] = frozenset({"values"})

    keyset_id: KeysetId
    values: list[tuple[_Name, _Text]] = Field(min_length=1, max_length=1000)


class ExpireBackup(Body):
    """A backup, by the name of its key."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
