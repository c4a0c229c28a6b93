"""Threads take turns, and give way while they wait."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from worker.turn import Turn, given_way, noticed


def test_who_gives_way_goes_on_once_nobody_has_the_turn() -> None:
    """Another thread has the turn meanwhile, and the first one goes on only after it."""
    turn, steps, taken = Turn(), list[str](), threading.Event()

    def first() -> None:
        with noticed(lambda: steps.append("gives way")), turn.taken():
            with given_way():
                other = threads.submit(second)
                assert taken.wait(20)
            steps.append("goes on")
        other.result(20)

    def second() -> None:
        with turn.taken():
            taken.set()
            steps.append("another")

    with ThreadPoolExecutor(2) as threads:
        threads.submit(first).result(20)

    assert steps == ["gives way", "another", "goes on"]


def test_a_thread_without_a_turn_has_nothing_to_give() -> None:
    """Nor is anybody told."""
    told: list[None] = []
    with noticed(lambda: told.append(None)), given_way():
        pass
    assert told == []
