"""The subject of an output schema."""

from __future__ import annotations

from collections.abc import Callable

from worker.errors import ConfigError


def subject_of(strategy: str, topic: str) -> Callable[[str], str]:
    """
    Return the function from a record's full name to its subject.

    Args:
        strategy: `topic`, `record` or `topic-record`.
        topic: the sink's topic or table.
    """
    strategies: dict[str, Callable[[str], str]] = {
        "topic": lambda _name: f"{topic}-value",
        "record": lambda name: name,
        "topic-record": lambda name: f"{topic}-{name}",
    }
    if strategy not in strategies:
        raise ConfigError(f"subject_strategy {strategy!r} is none of {', '.join(strategies)}")
    return strategies[strategy]
