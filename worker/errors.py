"""
Every exception of the worker; the class says what its catcher must do.

::

    WorkerError
    ├─ ConfigError                  refuse to start, or stop            exit 2
    │  └─ DeclarationError
    ├─ RecordError                  dead-letter this record, go on
    │  ├─ DecodeError
    │  ├─ DecryptionError
    │  ├─ ResidencyError
    │  └─ SinkRejected
    ├─ TransientError               pause, retry, commit nothing
    │  ├─ KeyServiceUnavailable
    │  │  └─ KeyServiceThrottled    it is there, and wants to be asked less
    │  ├─ RegistryUnavailable
    │  ├─ SourceUnavailable
    │  ├─ SinkUnavailable
    │  └─ PositionsChanged
    │     └─ TransactionExpired
    └─ FatalError                   stop                                exit 3
       ├─ RegionViolation
       ├─ KeyAccessDenied
       │  └─ ContextDenied          its records' fault alone: they are dead-lettered
       │     └─ SubjectErased       the context's keys were erased: its records are dropped
       ├─ KeyMaterialError
       ├─ CanaryError
       ├─ DeadLetterLimitExceeded
       ├─ OffsetLost
       ├─ FateError
       ├─ ProcessFailed             one of several processes failed     exit: that process's own
       └─ Fenced                    a newer owner is at work            exit 5

A message says what failed, where, and what to do. It never holds a plaintext, a key, a token or a record.
"""

from __future__ import annotations

import codecs
import errno
from collections.abc import Sequence

from worker.position import Position

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What says that there is no room for a file."""


def why(error: OSError | UnicodeDecodeError) -> str:
    """Return why a file can't be read, in the system's words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    utf16 = error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return "it is no text in UTF-8" + (" but in UTF-16: save it anew" if utf16 else "")


def unwritten(place: object, error: OSError) -> WorkerError:
    """Return what a command says of a file or stream that it can't write: the place, the reason and what to do."""
    if error.errno in FULL:
        return SinkUnavailable(f"{place} can't be written: {why(error)}; make room there, then call this again")
    return ConfigError(f"{place} can't be written: {why(error)}")


def with_extra(extra: str) -> str:
    """Return how to install an extra: from the wheel that was built, since no index has the package."""
    return f"install the wheel with it, as in pip install 'residency_worker-*.whl[{extra}]'"


class WorkerError(Exception):
    """The root of everything this package raises on purpose."""

    exit_code = 3


class ConfigError(WorkerError):
    """The configuration, a schema or a credential is unusable: refuse to start, or stop where it first shows later."""

    exit_code = 2


class DeclarationError(ConfigError):
    """
    A schema declares what can't be kept, forgets what must be declared, or two declarations differ.

    It is about a schema, not a record, so it stops: at start, and in mid-stream for a schema that first appears there.
    Nothing is lost by that, while dead letters would drain the topic.

    Args:
        message: what is declared where, and what to do.
        path: the field's identity, empty where no field is meant.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class RecordError(WorkerError):
    """
    One record can't be processed: it goes to the dead letters, and the run continues.

    Args:
        message: what failed and what to do; free of any content of the record.
        code: the stable word for dead letters and metrics (docs/contracts.md, 5).
        path: the field's path within the record, empty where no field is meant.
    """

    code = "decode_failed"

    def __init__(self, message: str, *, code: str | None = None, path: str = "") -> None:
        super().__init__(message)
        self.path = path
        if code is not None:
            self.code = code


class DecodeError(RecordError):
    """The record's bytes are not what its schema says."""


class DecryptionError(RecordError):
    """A ciphertext does not open: altered, moved, another key's, or not an envelope at all."""

    code = "decryption_failed"


class ResidencyError(RecordError):
    """A record belongs to another region."""

    code = "residency"


class SinkRejected(RecordError):
    """
    The sink will never take one or more records of the batch: too large, or against the table's rules.

    Args:
        message: what the other side refused, without any value.
        positions: of the records that were refused; empty where the sink can't tell, and then the runner finds them
            by halving the batch.
    """

    code = "sink_rejected"

    def __init__(self, message: str, *, positions: Sequence[Position] = ()) -> None:
        super().__init__(message)
        self.positions = tuple(positions)


class TransientError(WorkerError):
    """
    Something outside is away: pause, retry, commit nothing.

    Args:
        message: what is away and how that showed.
        retry_after_s: the other side's own wish, where it named one.
    """

    exit_code = 4

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KeyServiceUnavailable(TransientError):
    """ZeroKMS or CTS does not answer, or answers 429 or 5xx."""


class KeyServiceThrottled(KeyServiceUnavailable):
    """ZeroKMS or CTS answers 429: a quota is used up. It is no outage; the same after `retry_after_s` is answered."""


class RegistryUnavailable(TransientError):
    """The schema registry does not answer."""


class SourceUnavailable(TransientError):
    """The source's broker does not answer."""


class SinkUnavailable(TransientError):
    """
    The sink does not take records now.

    Args:
        message: what is away and how that showed.
        retry_after_s: the other side's own wish, where it named one.
        is_doubtful: whether it may be no outage at all; the same again and again then ends the route.
        is_answer: whether the sink itself said so, and so is there; the same for very long then ends the route.
    """

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, is_doubtful: bool = False, is_answer: bool = False
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.is_doubtful, self.is_answer = is_doubtful, is_answer


class PositionsChanged(TransientError):
    """
    The positions a batch began at are not the stored ones, or whether its commit took place is unknown.

    The batch is dropped and the positions are read again; nothing of it may be written from memory.
    """


class TransactionExpired(PositionsChanged):
    """A transaction outlived its timeout, and the broker ended it: nothing of it is visible."""


class FatalError(WorkerError):
    """Going on would be wrong: stop, after what is under way has been flushed or abandoned."""


class RegionViolation(FatalError):
    """Two things that must belong to one region do not; the message names both."""


class KeyAccessDenied(FatalError):
    """The key service refuses this identity: no grant, deleted client, disabled keyset, wrong scope or context."""


class ContextDenied(KeyAccessDenied):
    """The key service refuses keys for one context, or for one field's policy, and gives this identity others."""


class SubjectErased(ContextDenied):
    """
    The keys of one context were erased in its keyset, for good: nobody opens its values, nor writes any again.

    Args:
        message: what was asked for; without any value.
        values: names and texts of the context's values that were erased, where the service said which.
    """

    def __init__(self, message: str, *, values: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.values = frozenset(values)


class KeyMaterialError(FatalError):
    """Key material is malformed or of a form that no honest authority sends."""


class CanaryError(FatalError):
    """The authority's keys do not open what they sealed before: nothing more may be written with them."""


class DeadLetterLimitExceeded(FatalError):
    """More records fail than the operator allows: the schema or the source is broken, not a record."""


class OffsetLost(FatalError):
    """The position to continue from is gone from the source, or the topic is another one of the same name."""


class FateError(FatalError):
    """A record of a batch would have two fates, or none: the worker is wrong, and nothing of it is written."""


class ProcessFailed(FatalError):
    """
    One of several processes ended with a verdict or crashes again and again; the others have been stopped.

    Args:
        message: which process, how it ended, and its last error.
        exit_code: that process's own; 128 + n where signal n killed it.
    """

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Fenced(FatalError):
    """A newer owner of the same work is active; this process must not write any more."""

    exit_code = 5
