"""Which member of a static group leaves for the sake of a partition without an owner, and when."""

from __future__ import annotations

import queue
import threading

import pytest
from structlog.testing import capture_logs

from worker.errors import SourceUnavailable
from worker.kafka.groups import Group, Member
from worker.model import TopicPartition
from worker.source.ownership import Ownership
from worker.source.watch import GroupWatch

ALL = frozenset(TopicPartition("t", n) for n in range(3))
THIRD = frozenset({TopicPartition("t", 2)})
NONE: frozenset[TopicPartition] = frozenset()


def share(*numbers: int) -> frozenset[TopicPartition]:
    return frozenset(TopicPartition("t", n) for n in numbers)


def group(*, is_stable: bool = True, **owned: int) -> Group:
    """A group whose members, by name, own each one partition."""
    return Group(is_stable, [Member(name, share(n)) for name, n in owned.items()])


SHORT = group(w0=0, w1=1)
WHOLE = group(w0=0, w1=1, w2=2)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def member(clock: Clock, number: int = 0) -> Ownership:
    """A member that has just been given the partition of its number."""
    made = Ownership(f"w{number}", 10, clock=clock)
    made.exists(ALL)
    made.given(share(number))
    return made


def looked(member: Ownership, clock: Clock, seen: Group, until: float) -> list[float]:
    """Look whenever the member would; returns when it left."""
    left = []
    while member.look_at is not None and member.look_at <= until:
        clock.now = member.look_at
        if member.judge(seen, clock.now):
            left.append(clock.now - 100)
    return left


def test_the_first_by_name_leaves_once_the_group_has_had_its_time(clock: Clock) -> None:
    """The second one would later, should the first be dead or frozen."""
    assert looked(member(clock), clock, SHORT, 120) == [12]
    clock.now = 100
    assert looked(member(clock, 1), clock, SHORT, 120) == [18]


def test_it_says_which_have_no_owner(clock: Clock) -> None:
    one = member(clock)
    clock.now = 110
    one.judge(SHORT, clock.now)
    clock.now = 112

    assert one.judge(SHORT, clock.now) == THIRD


def test_what_does_not_help_is_tried_ever_less_often(clock: Clock) -> None:
    """A group that is shared by somebody who may not see the topic can't be mended by leaving it."""
    assert looked(member(clock), clock, SHORT, 400) == [12, 34, 76, 158]


def test_a_group_with_an_owner_for_each_is_looked_at_no_more(clock: Clock) -> None:
    """Until it moves, or a partition is added: who leads it then may know fewer than the one before."""
    one = member(clock)
    assert looked(one, clock, WHOLE, 1000) == []
    assert one.look_at is None

    one.given(share(0))
    assert one.look_at == clock.now + 10
    looked(one, clock, WHOLE, 1000)
    assert not one.exists(ALL)
    assert one.look_at is None
    assert one.exists(ALL | {TopicPartition("t", 3)})
    assert one.look_at == clock.now + 10


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(group(is_stable=False, w0=0, w1=1), id="it moves"),
        pytest.param(group(w1=1), id="this member is not in it"),
        pytest.param(group(w0=1, w1=0), id="a coordinator of before"),
    ],
)
def test_an_answer_that_is_not_of_now_moves_nobody(clock: Clock, seen: Group) -> None:
    one = member(clock)

    assert looked(one, clock, seen, 300) == []
    assert one.look_at is not None

    began = clock.now
    assert looked(one, clock, SHORT, began + 20) == [one.look_at - 20 - 100]


def test_what_was_asked_before_the_group_moved_does_not_count(clock: Clock) -> None:
    one = member(clock)
    clock.now = 110
    one.judge(SHORT, clock.now)
    clock.now = 112
    one.given(share(0))

    assert one.judge(SHORT, 111) == NONE
    assert one.look_at == 122


def test_brokers_that_do_not_answer_are_asked_ever_less_often(clock: Clock) -> None:
    one = member(clock)
    pauses = []
    for _ in range(5):
        one.unanswered()
        assert one.look_at is not None
        pauses.append(one.look_at - clock.now)

    assert pauses == [2, 4, 8, 10, 10]


class Broker:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.answers: queue.Queue[Group | Exception] = queue.Queue()
        self.asked = threading.Semaphore(0)

    def __call__(self) -> Group:
        self.asked.release()
        answer = self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Impatient(Ownership):
    """Looks again at once."""

    def __init__(self) -> None:
        super().__init__("w0", 0)
        self.look_at = 0

    def unanswered(self) -> None:
        super().unanswered()
        self.look_at = 0


def test_a_long_silence_is_told_once() -> None:
    """What one answer ends."""
    broker, moving = Broker(), group(is_stable=False, w0=0)
    away, later = SourceUnavailable("no broker"), SourceUnavailable("no route")
    answers: list[Group | Exception] = [*[away] * 20, moving, *[later] * 8]
    watch = GroupWatch(broker, Impatient())
    with capture_logs() as logs:
        watch.start()
        for answer in answers:
            assert broker.asked.acquire(timeout=20)
            broker.answers.put(answer)
        assert broker.asked.acquire(timeout=20)
        watch.close()
        broker.answers.put(SourceUnavailable("no broker"))

    assert [(e["event"], e["error"]) for e in logs] == [
        ("group_unwatched", "no broker"),
        ("group_unwatched", "no route"),
    ]
    assert not watch.must_leave()
