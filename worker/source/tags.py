"""What stands beside a stored offset: which topic of that name it belongs to, and how many partitions that had."""

from __future__ import annotations

from dataclasses import dataclass

_TOPIC, _PARTITIONS = "topic-id", "partitions"


@dataclass(frozen=True, slots=True)
class Tag:
    """
    An offset's metadata.

    Args:
        topic_id: the topic's id; "" where the metadata does not say.
        partitions: how many partitions the topic had when the group first read it; 0 where the metadata does not say.
    """

    topic_id: str
    partitions: int = 0

    def __str__(self) -> str:
        """Return it as it is stored."""
        count = f"{_PARTITIONS}={self.partitions} " if self.partitions else ""
        return f"{count}{_TOPIC}={self.topic_id}"

    @classmethod
    def read(cls, metadata: str | None) -> Tag:
        """Read what is stored; anybody's metadata may be anything."""
        said = dict(word.split("=", 1) for word in (metadata or "").split(" ") if "=" in word)
        count = said.get(_PARTITIONS, "")
        return cls(said.get(_TOPIC, ""), int(count) if count.isdecimal() and count.isascii() else 0)

    def is_of_another(self, topic_id: str) -> bool:
        """Whether it says that the offset belongs to another topic than this."""
        return bool(self.topic_id) and self.topic_id != topic_id
