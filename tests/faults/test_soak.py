"""The short form of `make soak`: one broker, a few thousand records, members that are killed and come back."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.faults.soak import Plan, put_through
from tests.faults.stand import REGION, TOPOLOGIES, Stand

pytestmark = [pytest.mark.integration, pytest.mark.fault, pytest.mark.timeout(240)]
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(2**31))


# `tests/integration/test_kill.py` kills the other two.
@pytest.mark.parametrize("topology", ["kafka-exactly-once", "postgres-upsert"])
def test_killed_members_lose_nothing_double_nothing_and_leak_nothing(
    topology: str, kafka: Kafka, new_database: DatabaseFactory, authority: dict[str, str], tmp_path: Path
) -> None:
    """Two members die at drawn places, and both at once by SIGKILL: the topology keeps its whole promise."""
    print(f"SEED={SEED}")
    stand = Stand(kafka, new_database(region=REGION), authority, tmp_path)
    plan = Plan(SEED, records=3_000, faults=("kill all",), sample=100, hits=(2, 6))

    outcome = put_through(stand, TOPOLOGIES[topology], plan)

    assert outcome.findings == [], (SEED, outcome.findings)
    assert outcome.died_at
    assert outcome.looks > 1
