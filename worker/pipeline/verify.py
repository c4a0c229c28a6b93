"""The output canary: some of what was encrypted is decrypted again before it is written."""

from __future__ import annotations

import hmac
import random
from collections.abc import Container, Sequence

from worker.encryption import BatchDecryptor
from worker.errors import CanaryError
from worker.metrics import Metrics
from worker.model import ValueColumn


class OutputVerifier:
    """
    Decrypts a sample of a batch's envelopes and compares.

    Args:
        decryptor: under this worker's own identity.
        rate: share of the values, 0 to 1.
        route: for the metric.
        metrics: counts values by outcome.
        seed: for the choice of the sample.
    """

    def __init__(
        self, decryptor: BatchDecryptor, *, rate: float, route: str, metrics: Metrics, seed: int | None = None
    ) -> None:
        self._decryptor = decryptor
        self._rate = rate
        self._route = route
        self._metrics = metrics
        self._random = random.Random(seed)  # noqa: S311 - a sample, no secret

    def verify(
        self, columns: Sequence[ValueColumn], envelopes: Sequence[Sequence[bytes]], skip: Container[int] = ()
    ) -> None:
        """
        Compare a sample.

        Args:
            columns: what was encrypted.
            envelopes: aligned with the columns and their values.
            skip: indexes of records that failed and have no envelopes.

        Raises:
            CanaryError: a value does not come back as it was; nothing of the batch may be written.
            KeyServiceUnavailable: no keys to decrypt with now.
        """
        picked = [
            [i for i, record in enumerate(c.records) if record not in skip and self._random.random() < self._rate]
            for c in columns
        ]
        sample = [
            ValueColumn(
                column.plan,
                [sealed[i] for i in at],
                [column.records[i] for i in at],
                None if column.contexts is None else [column.contexts[i] for i in at],
                None if column.binds is None else [column.binds[i] for i in at],
            )
            for column, sealed, at in zip(columns, envelopes, picked, strict=True)
        ]
        count = sum(len(at) for at in picked)
        if not count:
            return
        opened = self._decryptor.decrypt(sample)
        for column, values, at in zip(columns, opened.values, picked, strict=True):
            for i, value in zip(at, values, strict=True):
                error = opened.errors.get(column.records[i])
                if error is not None and error.code == "subject_erased":
                    # Between the two questions its subject was erased; nobody opens it, and it harms nobody.
                    continue
                if value is None or not hmac.compare_digest(value, column.values[i]):
                    self._metrics.inc("worker_output_checks_total", route=self._route, outcome="failed")
                    raise CanaryError(
                        f"{column.plan.identity}: a value that was just encrypted does not decrypt to itself; nothing "
                        "of its batch was written. Look at the authority's keys before starting again"
                    )
        self._metrics.inc("worker_output_checks_total", count, route=self._route, outcome="ok")
