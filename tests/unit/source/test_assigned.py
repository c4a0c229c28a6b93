"""When a member of a `consumer` group leaves for the sake of what it was assigned and never heard of."""

from __future__ import annotations

import pytest

from tests.unit.source.test_ownership import Clock, share
from worker.kafka.groups import Group, Member
from worker.source.assigned import Assigned

OWN = share(0, 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def member(clock: Clock) -> Assigned:
    """One that owns two partitions, and had no answer just now."""
    made = Assigned("worker-w0", clock=clock)
    made.given(OWN)
    clock.now += 60
    made.late()
    return made


def group(*numbers: int, also: tuple[int, ...] | None = None) -> Group:
    """A group that has this for the member, perhaps besides for one of its name that died, and all else for another."""
    members = [Member("", share(*numbers), "worker-w0"), Member("", share(8, 9), "worker-w1")]
    return Group(True, members if also is None else [Member("", share(*also), "worker-w0"), *members])


def looked(member: Assigned, clock: Clock, seen: Group, for_s: float) -> list[int]:
    """Look whenever the member would; returns after how many seconds it left."""
    began, left = clock.now, []
    while member.look_at is not None and member.look_at <= began + for_s:
        clock.now = member.look_at
        if member.judge(seen, clock.now):
            left.append(round(clock.now - began))
    clock.now = began + for_s
    return left


def test_nobody_looks_before_an_answer_is_missed(clock: Clock) -> None:
    """However the group moves."""
    made = Assigned("worker-w0", clock=clock)
    made.given(OWN)

    assert not made.exists(share(0, 1, 2))
    assert made.look_at is None


def test_a_group_that_agrees_is_left_alone_after_a_while(member: Assigned, clock: Clock) -> None:
    """The answer had nothing in it."""
    assert looked(member, clock, group(0, 1), 30) == []
    assert member.look_at is None


@pytest.mark.parametrize("numbers", [(0, 1, 2), (0,), (), (5,)])
def test_what_differs_for_longer_than_a_heartbeat_makes_it_leave(
    member: Assigned, clock: Clock, numbers: tuple[int, ...]
) -> None:
    """Whether it is to take or to give up; it says what."""
    assert looked(member, clock, group(*numbers), 6) == []
    assert member.look_at is not None
    clock.now = member.look_at

    assert member.judge(group(*numbers), clock.now) == OWN ^ share(*numbers)


def test_attempts_in_vain_come_ever_more_rarely(member: Assigned, clock: Clock) -> None:
    """Another reason than a missed answer may keep the two apart."""
    first, second, third, *_ = looked(member, clock, group(0), 120)

    assert first < 10
    assert second - first > 12
    assert third - second > 24


def test_what_is_heard_in_time_is_no_reason(member: Assigned, clock: Clock) -> None:
    """The next heartbeat told it."""
    assert looked(member, clock, group(0), 5) == []
    member.given(share(0))

    assert looked(member, clock, group(0), 60) == []
    assert member.look_at is None


def test_an_answer_from_before_it_moved_says_nothing(member: Assigned, clock: Clock) -> None:
    """It is asked again."""
    assert looked(member, clock, group(0), 5) == []
    asked_at = clock.now
    clock.now += 4
    member.given(share(0))

    assert not member.judge(group(0, 1), asked_at)
    assert member.look_at is not None


def test_one_that_died_under_its_name_is_not_the_member(member: Assigned, clock: Clock) -> None:
    """Until its session ends the coordinator has both."""
    assert looked(member, clock, group(0, 1, also=(5,)), 30) == []


def test_a_member_that_the_group_does_not_have_joins_by_itself(member: Assigned, clock: Clock) -> None:
    """The client hears of that."""
    assert looked(member, clock, Group(True, []), 30) == []


def test_a_silent_coordinator_is_asked_ever_less_often(member: Assigned, clock: Clock) -> None:
    """At most every ten seconds."""
    pauses = []
    for _ in range(5):
        member.unanswered()
        assert member.look_at is not None
        pauses.append(member.look_at - clock.now)
        clock.now = member.look_at

    assert pauses == [2, 4, 8, 10, 10]
