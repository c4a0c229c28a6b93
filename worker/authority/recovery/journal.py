"""
The journal: every write of the store, outside the store and durable before the write is.

A line is JSON with the store's `incarnation` and `version`, and the rows that this version wrote or took out, sealed
under a key of the store's. So whatever was revoked, disabled, bound or blocked is in it, and so is whatever was born:
no keyset gives a key before its row lies there. Of two lines of one version the later counts: the first was of a
write that did not happen.
"""

from __future__ import annotations

import base64
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from worker.authority.files import own_file
from worker.authority.head import Head
from worker.authority.recovery.rows import change_from_json, change_to_json
from worker.authority.refusal import Refusal
from worker.authority.seal import Sealer
from worker.authority.state import Changed
from worker.errors import ConfigError

_UNWRITABLE = "the journal can't be written: nothing changes in the store without it"


class Journal:
    """
    Appends to a file; several processes of one store may share it.

    Args:
        path: on another disk or host than the store's.
        secret: 32 bytes of the store's own.
    """

    def __init__(self, path: Path, secret: bytes) -> None:
        self._sealer = Sealer(secret)
        own_file(path, create=True)
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND)
        self._stopped = False
        with self._alone():
            size = os.fstat(self._fd).st_size
            if size and os.pread(self._fd, 1, size - 1) != b"\n":
                # What a full disk left of a line; it ends here and is none.
                os.write(self._fd, b"\n")

    @property
    def descriptor(self) -> int:
        """The open file's descriptor."""
        return self._fd

    def append(self, head: Head, changes: Sequence[Changed], still: Callable[[], object]) -> None:
        """
        Write one version and wait until it is durable; raises a 503 where it can't be.

        `still` raises where the write's transaction has ended. It is asked while no other process can append: a process
        that stood still meanwhile would else write its line after that of another, which has written this version.
        """
        if self._stopped:
            raise Refusal(503, _UNWRITABLE)
        what, body = _what(head.incarnation, head.version), [change_to_json(change) for change in changes]
        sealed = base64.b64encode(self._sealer.seal(orjson.dumps(body), what=what)).decode()
        line = orjson.dumps({"incarnation": head.incarnation, "version": head.version, "sealed": sealed}) + b"\n"
        try:
            with self._alone():
                still()
                if os.write(self._fd, line) != len(line):
                    os.write(self._fd, b"\n")
                    raise Refusal(503, _UNWRITABLE)
                os.fsync(self._fd)
        except OSError:
            self._stopped = True
            raise Refusal(503, _UNWRITABLE) from None

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._fd, fcntl.LOCK_UN)


def read_journal(path: Path, secret: bytes, incarnation: int, after: int) -> Iterator[tuple[int, list[Changed]]]:
    """
    Yield each version after one, in order and without a gap.

    Raises:
        ConfigError: a line is another store's, was altered, or one is missing between two.
    """
    sealer, found = Sealer(secret), dict[int, list[Changed]]()
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            body = orjson.loads(line)
            place = int(body["incarnation"]), int(body["version"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            # A torn line: its write was never acknowledged.
            continue
        if place[0] != incarnation or place[1] <= after:
            continue
        try:
            opened = sealer.open(base64.b64decode(body["sealed"]), what=_what(*place))
        except (ConfigError, ValueError):
            raise ConfigError(f"the journal's line {number} is not this store's, or was altered") from None
        found[place[1]] = [change_from_json(change) for change in orjson.loads(opened)]
    for expected, version in enumerate(sorted(found), after + 1):
        if version != expected:
            raise ConfigError(f"the journal lacks version {expected}: it is not complete")
        yield version, found[version]


def _what(incarnation: int, version: int) -> str:
    return f"journal/{incarnation}/{version}"
