"""How large a record may become: each value gets an envelope, so that many small values become a big record."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from worker.errors import DecodeError, RecordError
from worker.model import Batch, FieldPlan, Split

# What an envelope adds to its value, whichever format: keyset, iv, tag, nonce, authentication, framing.
_ENVELOPE_BYTES = 128
# Of one batch, so that what it is taken apart into stays small beside what it becomes.
_BATCH_VALUES = 500_000
# The largest records that a batch may become.
_BATCH_RECORDS = 4
# A typed plaintext without a form of its own is base64 in JSON.
_GROWTH = 4 / 3


class Oversized(Exception):
    """A batch becomes too much at once; its halves, or theirs, do not. Nothing was written and no key taken for it."""


@dataclass(frozen=True, slots=True)
class Amplification:
    """
    Finds the records that would become too large, and batches that would, before a key is taken for them.

    Args:
        max_values: declared values of one record.
        max_bytes: bytes of one record with its envelopes, estimated from above.
    """

    max_values: int
    max_bytes: int

    @property
    def batch_values(self) -> int:
        """How many declared values a batch may be taken apart into at once."""
        return max(self.max_values, _BATCH_VALUES)

    def check(self, batch: Batch, taken: Iterable[tuple[Split, Sequence[FieldPlan]]]) -> None:
        """Raise `Oversized` where a batch of several records would become too much at once."""
        added = sum(self._measure(split, fields, range(len(split)))[1] for split, fields in taken)
        if len(batch) > 1 and added and batch.size * _GROWTH + added > _BATCH_RECORDS * self.max_bytes:
            raise Oversized

    def errors(self, batch: Batch, split: Split, fields: Sequence[FieldPlan]) -> dict[int, RecordError]:
        """Return why records can't be taken, by their place; a batch that is small as a whole is not looked into."""
        found: dict[int, RecordError] = {}
        stack = [range(len(batch))] if fields and len(batch) else []
        while stack:
            at = stack.pop()
            values, added = self._measure(split, fields, at)
            whole = len(at) == len(batch)
            size = int((batch.size if whole else sum(len(batch.values[i] or b"") for i in at)) * _GROWTH) + added
            if values <= self.max_values and size <= self.max_bytes:
                continue
            if len(at) > 1:
                middle = at.start + len(at) // 2
                stack += [range(at.start, middle), range(middle, at.stop)]
            elif at.start not in split.errors:
                found[at.start] = DecodeError(self._reason(values, size), code="too_large")
        return found

    def _reason(self, values: int, size: int) -> str:
        if values > self.max_values:
            return f"the record has {values} values to encrypt, [delivery] max_record_values is {self.max_values}"
        return f"the record would have {size} bytes, [delivery] max_record_bytes is {self.max_bytes}"

    @staticmethod
    def _measure(split: Split, fields: Sequence[FieldPlan], at: range) -> tuple[int, int]:
        counts = [(split.count(plan.format, (plan.descriptor,), at), plan) for plan in fields]
        added = sum(n * (_ENVELOPE_BYTES + len(plan.descriptor.encode())) for n, plan in counts)
        return sum(n for n, _ in counts), added
