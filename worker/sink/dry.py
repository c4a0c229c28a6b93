"""A sink that writes nothing: for `worker run --dry-run`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

import orjson

from worker.model import Output, TopicPartition
from worker.sink.base import DeadLetter, LedgerRow, OffsetRange, Positions


class DrySink:
    """
    Prints one JSON line per record: its coordinates, sizes and what would become of it, never its content.

    Args:
        route: named in each line.
        out: where to print; standard output if not given.
    """

    def __init__(self, route: str, out: TextIO | None = None) -> None:
        self._route = route
        self._out = sys.stdout if out is None else out

    @property
    def owns_positions(self) -> bool:
        """Positions go nowhere, so the route's group stays as it is."""
        return True

    def check(self) -> None:
        """Nothing can be wrong."""

    def positions(self, partitions: Mapping[TopicPartition, int | None]) -> Positions:
        """Begin where the source would."""
        return Positions({place: start for place, start in partitions.items() if start is not None})

    def begin(self) -> None:
        """Nothing begins."""

    def write(self, output: Output) -> None:
        """Print what would be written."""
        for run in output.runs:
            for i in range(run.start, run.stop):
                value = output.values[i]
                self._print(
                    position=f"{run.place}@{output.offsets[i]}",
                    outcome="tombstone" if value is None else "encrypted",
                    schema_id=output.schema_ids[i],
                    bytes=len(value or b""),
                )

    @property
    def keeps_letters(self) -> bool:
        """What is printed is printed."""
        return True

    def write_dead(self, letters: Sequence[DeadLetter]) -> None:
        """Print what would be sealed into the dead letters, with the error's code."""
        for letter in letters:
            headers = {name: value.decode() for name, value in letter.headers if value is not None}
            self._print(
                position=letter.key.decode(), outcome="dead", code=headers.get("worker.error.code"), topic=letter.topic
            )

    def flush(self) -> None:
        """Hand the lines to the operating system."""
        self._out.flush()

    def commit(
        self, offsets: Mapping[TopicPartition, OffsetRange], ledger: Sequence[LedgerRow], group_metadata: object | None
    ) -> None:
        """Nothing is stored."""

    def abort(self) -> None:
        """Nothing is undone."""

    def rest(self) -> None:
        """Nothing costs."""

    def close(self) -> None:
        """Nothing is held."""

    def _print(self, **facts: object) -> None:
        self._out.write(orjson.dumps({"route": self._route, **facts}).decode() + "\n")
