"""One batch from its old envelopes to new ones: opened, sealed, opened again and compared."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.avro import CompiledSchema, open_schema
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.errors import CanaryError, WorkerError
from worker.model import PlainBatch, Run, Split
from worker.pipeline.search import SearchTerms, Terms

_NO_TERMS: Terms = {}


@dataclass(slots=True)
class Recoded:
    """
    What a batch became.

    Args:
        data: the output datums, None where a record could not be opened or sealed.
        errors: why, by place.
        terms: by envelope, the search terms of indexed fields.
    """

    data: list[bytes | None] = field(repr=False)
    errors: dict[int, WorkerError]
    terms: Terms = field(default_factory=dict, repr=False)


class Recoder:
    """
    Encrypts the records of one output schema anew; nothing is given back that was not opened under its new key.

    Args:
        stored: the output schema of what comes.
        compiled: how it is sealed.
        opener: under the old keys.
        sealer: under the new ones.
        prover: opens what was sealed, with keys that it asks the authority for.
        terms: makes the search terms of indexed fields; None where nothing stores some.
    """

    def __init__(
        self,
        stored: str,
        compiled: CompiledSchema,
        *,
        opener: BatchDecryptor,
        sealer: BatchEncryptor,
        prover: BatchDecryptor,
        terms: SearchTerms | None = None,
    ) -> None:
        self._old, self.compiled = open_schema(stored), compiled
        self._new = open_schema(compiled.plan.output_schema)
        self._opener, self._sealer, self._prover, self._terms = opener, sealer, prover, terms

    def split(self, datums: Sequence[bytes], keys: Sequence[bytes | None], start: int = 0) -> Split:
        """Take stored datums apart that begin at `start`."""
        return self._old.split_batch(datums, keys, start)

    def recode(self, split: Split, keys: Sequence[bytes | None], prefix: bytes = b"") -> Recoded:
        """
        Encrypt records anew.

        Args:
            split: the stored datums, as `split` gives them.
            keys: the records' keys, as `$key` binds them.
            prefix: what stands in front of each new record.

        Raises:
            CanaryError: a value does not come back from its new envelope; nothing may be written.
            KeyServiceUnavailable: no keys now; the batch may be tried again.
            KeyAccessDenied: this client may not use the new keyset.
        """
        opened = self._opener.open(split)
        errors: dict[int, WorkerError] = {**opened.errors, **opened.denied}
        clear = list(opened.data)
        good = [i for i, datum in enumerate(clear) if datum is not None]
        own = [keys[i] for i in good]
        values = [datum for datum in clear if datum is not None]
        apart = self.compiled.split_batch(_batch(values, own), own, 0)
        (sealed,) = self._sealer.seal([(apart, prefix)])
        data = list(sealed.data)
        refused: dict[int, WorkerError] = {**apart.errors, **sealed.errors}
        self._prove(data, values, own, len(prefix))
        out: list[bytes | None] = [None] * len(clear)
        for place, datum in zip(good, data, strict=True):
            out[place] = datum
        errors |= {good[i]: error for i, error in refused.items()}
        terms = _NO_TERMS
        if self._terms is not None and self._terms.wants(self.compiled.plan.fields):
            terms = self._terms.of(apart.columns, sealed.envelopes)
        return Recoded(out, errors, terms)

    def _prove(
        self, data: Sequence[bytes | None], values: Sequence[bytes], keys: Sequence[bytes | None], start: int
    ) -> None:
        at = [i for i, datum in enumerate(data) if datum is not None]
        again = self._prover.open(self._new.split_batch([data[i] or b"" for i in at], [keys[i] for i in at], start))
        for i, found in zip(at, again.data, strict=True):
            if found is None or not hmac.compare_digest(found, values[i]):
                raise CanaryError(
                    "a value did not come back from its new envelope as it was; nothing of this batch was written"
                )


def _batch(values: Sequence[bytes], keys: Sequence[bytes | None]) -> PlainBatch:
    count = len(values)
    return PlainBatch([Run("", 0, 0, count)], range(count), keys, values, [(0, 0)] * count)
