"""Named places for faults."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from worker import failpoints
from worker.errors import ConfigError, FatalError, SinkUnavailable


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_passes_where_nothing_is_armed() -> None:
    """A place that is not armed does nothing."""
    failpoints.arm("other=fatal")

    failpoints.hit("after_flush")


def test_acts_at_the_nth_hit_only() -> None:
    """`@2` lets the first and the third hit pass."""
    failpoints.arm("seed=1;after_flush=unavailable@2")
    failpoints.hit("after_flush")

    with pytest.raises(SinkUnavailable):
        failpoints.hit("after_flush")

    failpoints.hit("after_flush")


def test_draws_from_the_seed() -> None:
    """The same seed acts at the same hits."""

    def hits() -> list[bool]:
        failpoints.arm("seed=7;p=fatal%0.5")
        acted = []
        for _ in range(20):
            try:
                failpoints.hit("p")
            except FatalError:
                acted.append(True)
            else:
                acted.append(False)
        return acted

    first = hits()

    assert first == hits()
    assert {True, False} == set(first)


def test_refuses_another_form() -> None:
    """A spec that can't be read is refused by name."""
    with pytest.raises(ConfigError, match="after_flush=explode"):
        failpoints.arm("after_flush=explode")
