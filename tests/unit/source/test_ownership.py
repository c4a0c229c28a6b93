"""Which member of a static group leaves for the sake of a partition without an owner, and when."""

from __future__ import annotations

import pytest
from confluent_kafka import ConsumerGroupState, Node
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    ConsumerGroupDescription,
    MemberAssignment,
    MemberDescription,
)

from worker.model import TopicPartition
from worker.source.ownership import Ownership

ALL = frozenset(TopicPartition("t", n) for n in range(3))
THIRD = frozenset({TopicPartition("t", 2)})
NONE: frozenset[TopicPartition] = frozenset()


def group(*, state: ConsumerGroupState = ConsumerGroupState.STABLE, **owned: int) -> ConsumerGroupDescription:
    """A group whose members, by name, own each one partition."""
    members = [
        MemberDescription(f"id-{name}", name, "h", MemberAssignment([KafkaPartition("t", n)]), name)
        for name, n in owned.items()
    ]
    return ConsumerGroupDescription("g", False, members, "range", state, Node(1, "h", 9))


SHORT = group(w0=0, w1=1)
WHOLE = group(w0=0, w1=1, w2=2)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_first_by_name_leaves_once_the_group_has_had_its_time(clock: Clock) -> None:
    """The second one would later, should the first not have."""
    first, second = (Ownership(name, 10, clock=clock) for name in ("w0", "w1"))
    assert (first.judge(ALL, SHORT), second.judge(ALL, SHORT)) == (NONE, NONE)
    clock.now += 9
    assert (first.judge(ALL, SHORT), second.judge(ALL, SHORT)) == (NONE, NONE)
    clock.now += 2
    assert (first.judge(ALL, SHORT), second.judge(ALL, SHORT)) == (THIRD, NONE)
    clock.now += 10
    assert second.judge(ALL, SHORT) == THIRD


def test_what_does_not_help_is_tried_ever_less_often(clock: Clock) -> None:
    """A group that is shared by somebody who may not see the topic can't be mended by leaving it."""
    member = Ownership("w0", 10, clock=clock)
    left = []
    for _ in range(200):
        if member.judge(ALL, SHORT):
            left.append(clock.now - 100)
        clock.now += 1

    assert left == [10, 31, 72, 153]


def test_a_group_with_an_owner_for_each_is_looked_at_no_more(clock: Clock) -> None:
    """Until a partition is added."""
    member = Ownership("w0", 10, clock=clock)
    assert not member.is_known(ALL)

    assert member.judge(ALL, WHOLE) == NONE

    assert member.is_known(ALL)
    assert not member.is_known(ALL | {TopicPartition("t", 3)})


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(group(state=ConsumerGroupState.PREPARING_REBALANCING, w0=0, w1=1), id="it moves"),
        pytest.param(group(w1=1), id="this member is not in it"),
        pytest.param(WHOLE, id="it is whole"),
    ],
)
def test_the_time_begins_anew(clock: Clock, seen: ConsumerGroupDescription) -> None:
    """A group that is about to share, or just has, is given its time again."""
    member = Ownership("w0", 10, clock=clock)
    member.judge(ALL, SHORT)
    clock.now += 11
    assert member.judge(ALL, seen) == NONE
    assert member.judge(ALL, SHORT) == NONE
    clock.now += 11
    assert member.judge(ALL, SHORT) == THIRD


def test_what_was_seen_before_the_group_moved_does_not_count(clock: Clock) -> None:
    member = Ownership("w0", 10, clock=clock)
    member.judge(ALL, SHORT)
    clock.now += 11

    member.moved()

    assert member.judge(ALL, SHORT) == NONE
