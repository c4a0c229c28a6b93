"""How far a route has come, for summaries, progress bars and whoever ends a run of several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.model import TopicPartition


@dataclass(frozen=True, slots=True)
class Span:
    """
    One partition's way: where the run began, where it stands, where it ends.

    `next` is the position stored with the records: what is before it is durable. `end` is None in an endless run.
    """

    start: int
    next: int
    end: int | None = None


@dataclass(frozen=True, slots=True)
class RouteProgress:
    """
    A route at one moment; may cross a process's border.

    Args:
        route: its name.
        outcomes: records that are durable, by `worker_records_total`'s outcome.
        spans: every partition that was ever assigned, as this member last saw it.
        ended: the partitions of a bounded run that were read to their end.
        partitions: all partitions of the route's topics; empty until the source has joined.
    """

    route: str
    outcomes: Mapping[str, int] = field(default_factory=dict)
    spans: Mapping[TopicPartition, Span] = field(default_factory=dict)
    ended: frozenset[TopicPartition] = frozenset()
    partitions: frozenset[TopicPartition] = frozenset()

    @property
    def records(self) -> int:
        """Number of records that are durable, dead letters included."""
        return sum(self.outcomes.values())

    @property
    def unread(self) -> frozenset[TopicPartition]:
        """The partitions that a bounded run has not read to their end."""
        return self.partitions - self.ended

    @property
    def is_complete(self) -> bool:
        """Whether every partition of the route's topics was read to its end."""
        return bool(self.partitions) and not self.unread


def merged(parts: Iterable[RouteProgress]) -> list[RouteProgress]:
    """
    Return what the members of one run did together, route by route.

    A partition that moved between members began where the first of them did, and stands where the last one does.
    """
    routes: dict[str, list[RouteProgress]] = {}
    for part in parts:
        routes.setdefault(part.route, []).append(part)
    return [_merged(name, members) for name, members in routes.items()]


def _merged(route: str, members: Iterable[RouteProgress]) -> RouteProgress:
    outcomes: Counter[str] = Counter()
    spans: dict[TopicPartition, Span] = {}
    ended: set[TopicPartition] = set()
    partitions: set[TopicPartition] = set()
    for member in members:
        outcomes.update(member.outcomes)
        ended |= member.ended
        partitions |= member.partitions
        for partition, span in member.spans.items():
            other = spans.get(partition, span)
            end = None if other.end is None or span.end is None else max(other.end, span.end)
            spans[partition] = Span(min(other.start, span.start), max(other.next, span.next), end)
    return RouteProgress(route, dict(outcomes), spans, frozenset(ended), frozenset(partitions))
