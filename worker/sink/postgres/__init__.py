"""Rows into PostgreSQL: exactly once in effect, with the positions in the rows' transaction."""

from worker.sink.postgres.options import PostgresSinkOptions
from worker.sink.postgres.sink import PostgresSink

__all__ = ["PostgresSink", "PostgresSinkOptions"]
