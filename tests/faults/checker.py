"""Compares what was produced with what a sink holds, by record id, never by offset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


def findings(expected: Iterable[int], found: Sequence[tuple[int, int]], *, exactly_once: bool) -> list[str]:
    """
    Return what is wrong, in words; empty if nothing is.

    Args:
        expected: ids, ascending per lane as they were produced.
        found: (lane, id) in the order in which the sink holds them; a lane is a key or a partition.
        exactly_once: whether a duplicate is a finding; without it the order is judged by each id's first copy.
    """
    counts = Counter(i for _, i in found)
    wanted = set(expected)
    wrong = []
    if missing := sorted(wanted - counts.keys()):
        wrong.append(f"{len(missing)} missing, first {missing[:5]}")
    if foreign := sorted(counts.keys() - wanted):
        wrong.append(f"{len(foreign)} never produced, first {foreign[:5]}")
    twice = sorted(i for i, n in counts.items() if n > 1)
    if twice and exactly_once:
        wrong.append(f"{len(twice)} more than once, first {twice[:5]}")
    last: dict[int, int] = {}
    seen: set[int] = set()
    for lane, i in found:
        if i in seen:
            continue
        seen.add(i)
        if i < last.get(lane, -1):
            wrong.append(f"lane {lane}: {i} comes after {last[lane]}")
            break
        last[lane] = i
    return wrong
