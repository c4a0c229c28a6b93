"""How large a record may become: each value gets an envelope, so that many small values become a big record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from worker.errors import DecodeError, RecordError
from worker.model import Batch, FieldPlan, Split

# What an envelope adds to its value, whichever format: keyset, iv, tag, nonce, authentication, framing.
_ENVELOPE_BYTES = 128
# A typed plaintext without a form of its own is base64 in JSON.
_GROWTH = 4 / 3


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """What one batch may become: how many declared values, and how many bytes with their envelopes."""

    values: int
    bytes: int

    def pieces(self, values: int, size: int) -> int:
        """Return in how many pieces a batch has to go."""
        return max(ceil(values / self.values), ceil(size / self.bytes), 1)


@dataclass(frozen=True, slots=True)
class Amplification:
    """
    Finds the records that would become too large, before a key is taken for them.

    Args:
        max_values: declared values of one record.
        max_bytes: bytes of one record with its envelopes, estimated from above.
    """

    max_values: int
    max_bytes: int

    def errors(
        self, batch: Batch, split: Split, fields: Sequence[FieldPlan], whole: tuple[int, int]
    ) -> dict[int, RecordError]:
        """
        Return why records can't be taken, by their place.

        Args:
            batch: the records.
            split: the same, taken apart.
            fields: what their schema declares.
            whole: what `measured` says of all of them; a batch that is small as a whole is not looked into.
        """
        found: dict[int, RecordError] = {}
        stack = [range(len(batch))] if fields and len(batch) else []
        while stack:
            at = stack.pop()
            values, size = whole if len(at) == len(batch) else measured(batch, split, fields, at)
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


def measured(batch: Batch, split: Split, fields: Sequence[FieldPlan], at: range) -> tuple[int, int]:
    """Return how many values a stretch of records has, and how many bytes it may become, estimated from above."""
    counts = [(split.count(plan.format, (plan.descriptor,), at), plan) for plan in fields]
    added = sum(n * (_ENVELOPE_BYTES + len(plan.descriptor.encode())) for n, plan in counts)
    size = batch.size if len(at) == len(batch) else sum(len(batch.values[i] or b"") for i in at)
    return sum(n for n, _ in counts), int(size * _GROWTH) + added
