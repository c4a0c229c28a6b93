"""Rows into PostgreSQL: exactly once in effect, with the positions in the rows' transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worker import lazy
from worker.sink.postgres.options import PostgresSinkOptions

if TYPE_CHECKING:
    from worker.sink.postgres.sink import PostgresSink

__all__ = ["PostgresSink", "PostgresSinkOptions"]

__getattr__ = lazy.parts(
    __name__,
    {
        "PostgresSink": "worker.sink.postgres.sink",
    },
)
