"""A batch with many contexts that nobody has seen before, against a real authority."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import pytest

from tests.unit.encryption.plans import plan
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.metrics import Metrics
from worker.model import Audit, Format, ValueColumn
from worker.zerokms.factory import client_from_environment
from worker.zerokms.keys import KeyCache, RetrievedKeys

AUDIT = Audit("test")
CONTEXTS = 600


@pytest.mark.parametrize("chosen", ["record", "leased"])
def test_many_new_contexts_cost_few_requests(authority: Mapping[str, str], chosen: Format) -> None:
    """A key or lease per distinct context, asked for together; every value opens under its own context alone."""
    metrics = Metrics("eu-central-1")
    contexts: list[tuple[str, ...]] = [(f"tenant-{i % CONTEXTS}",) for i in range(2 * CONTEXTS)]
    bound = plan(format=chosen, context=("tenant",))
    values = ValueColumn(bound, [b"\x02a"] * len(contexts), list(range(len(contexts))), contexts)
    with client_from_environment(
        authority, allow_hosts=(urlsplit(authority["CS_ZEROKMS_HOST"]).netloc,), metrics=metrics
    ) as client:
        with KeyCache(client, audit=AUDIT) as cache:
            [envelopes] = BatchEncryptor(cache).encrypt([values]).envelopes
        held = RetrievedKeys(client, audit=AUDIT)
        opened = BatchDecryptor(held).decrypt([ValueColumn(bound, envelopes, values.records, contexts)])
        swapped = [contexts[1], *contexts[1:]]
        refused = BatchDecryptor(held).decrypt([ValueColumn(bound, envelopes, values.records, swapped)])
        held.close()

    labels = {"region": "eu-central-1", "endpoint": "generate-data-key", "outcome": "200"}
    assert (metrics.registry.get_sample_value("worker_authority_requests_total", labels) or 0) < 20
    assert opened.values == [values.values]
    assert list(refused.errors) == [0]
