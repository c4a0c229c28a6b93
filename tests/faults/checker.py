"""What is wrong with a sink, in words: by record id, never by offset; nothing is wrong where a list is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence


def findings(expected: Iterable[int], found: Sequence[tuple[int, int]], *, exactly_once: bool) -> list[str]:
    """
    Compare what was produced with what a sink holds.

    Args:
        expected: ids, in the order in which the source's log has those of each lane.
        found: (lane, id) in the order in which the sink holds them; a lane is a key or a partition.
        exactly_once: whether a duplicate is a finding; without it the order is judged by each id's first copy.
    """
    counts = Counter(i for _, i in found)
    wanted = {i: place for place, i in enumerate(expected)}
    wrong = []
    if missing := sorted(wanted.keys() - counts.keys()):
        wrong.append(f"{len(missing)} missing, first {missing[:5]}")
    if foreign := sorted(counts.keys() - wanted.keys()):
        wrong.append(f"{len(foreign)} never produced, first {foreign[:5]}")
    twice = sorted(i for i, n in counts.items() if n > 1)
    if twice and exactly_once:
        wrong.append(f"{len(twice)} more than once, first {twice[:5]}")
    last: dict[int, int] = {}
    seen: set[int] = set()
    for lane, i in found:
        if i in seen or i not in wanted:
            continue
        seen.add(i)
        if lane in last and wanted[i] < wanted[last[lane]]:
            wrong.append(f"lane {lane}: {i} comes after {last[lane]}")
            break
        last[lane] = i
    return wrong


def forked(entries: Iterable[tuple[str, int]]) -> list[str]:
    """
    Find two entries in one place of a ledger's chain, and places that are missing.

    Args:
        entries: chain and sequence of every entry that a committed reader sees.
    """
    wrong = []
    for chain, places in sorted(_by_chain(entries).items()):
        if twice := sorted(place for place, n in places.items() if n > 1):
            wrong.append(f"ledger chain {chain} forks at {twice[:5]}")
        if missing := sorted(set(range(max(places) + 1)) - places.keys()):
            wrong.append(f"ledger chain {chain} lacks {missing[:5]}")
    return wrong


def letters(expected: Iterable[int], found: Sequence[int]) -> list[str]:
    """Compare the records that must be dead letters with those that are; one more than once is no finding here."""
    wrong, held = [], set(found)
    if missing := sorted(set(expected) - held):
        wrong.append(f"{len(missing)} dead letters missing, first {missing[:5]}")
    if foreign := sorted(held - set(expected)):
        wrong.append(f"{len(foreign)} dead letters of good records, first {foreign[:5]}")
    return wrong


def _by_chain(entries: Iterable[tuple[str, int]]) -> dict[str, Counter[int]]:
    chains: dict[str, Counter[int]] = {}
    for chain, place in entries:
        chains.setdefault(chain, Counter())[place] += 1
    return chains


def ahead(committed: Iterable[int], durable: Container[int]) -> list[str]:
    """Find what a stored position says is done and the sink did not hold when it was asked afterwards."""
    early = [i for i in committed if i not in durable]
    return [f"{len(early)} committed before they were durable, first {early[:5]}"] if early else []


def behind(before: Mapping[int, int], after: Mapping[int, int]) -> list[str]:
    """Find partitions whose stored position went back."""
    back = {p: (before[p], at) for p, at in after.items() if at < before.get(p, at)}
    return [f"stored positions went back: {back}"] if back else []


def latest(expected: Mapping[int, int], rows: Sequence[tuple[int, int]]) -> list[str]:
    """
    Compare a table that keeps each key's last record with what it must hold.

    Args:
        expected: lane -> the id of its last record, without lanes that end in a tombstone.
        rows: (lane, id) of every row.
    """
    counts = Counter(lane for lane, _ in rows)
    wrong = []
    if missing := sorted(expected.keys() - counts.keys()):
        wrong.append(f"{len(missing)} keys missing, first {missing[:5]}")
    if foreign := sorted(counts.keys() - expected.keys()):
        wrong.append(f"{len(foreign)} keys that must be gone, first {foreign[:5]}")
    if twice := sorted(lane for lane, n in counts.items() if n > 1):
        wrong.append(f"{len(twice)} keys more than once, first {twice[:5]}")
    stale = [(lane, i, expected[lane]) for lane, i in rows if lane in expected and i != expected[lane]]
    if stale:
        wrong.append(f"{len(stale)} keys with another record than their last, first (key, found, last) {stale[:3]}")
    return wrong
