"""A look into a topic: the last records of each partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from worker.avro import SchemaRef, SchemaSource, parse_frame
from worker.errors import RecordError
from worker.kafka.properties import Property
from worker.kafka.whole import read_batches
from worker.model import EncryptionPlan, SourceRecord, records_of
from worker.verifier.findings import Seen, judged
from worker.verifier.places import declared_values


class TopicVerifier:
    """
    Looks at what a topic's readers get.

    What must be an envelope is taken from the *input* schemas: an output schema that forgets one would hide it.

    Args:
        schemas: by each record's own id.
        local: ids of output schemas that no registry knows, to their text.
        plans: what the input schemas declare.
    """

    def __init__(self, schemas: SchemaSource, local: Mapping[int, str], plans: Sequence[EncryptionPlan]) -> None:
        self._schemas, self._local = schemas, local
        self._declared = {f.identity.partition("/")[2]: f.identity for plan in plans for f in plan.fields}
        self._texts: dict[SchemaRef, str] = {}

    def look(self, topic: str, connection: Mapping[str, Property], seen: Seen, *, cluster_id: str, last: int) -> None:
        """
        Look at the last records of each partition.

        Raises:
            ConfigError: there is no such topic, or the right to read it is missing.
            SourceUnavailable, RegistryUnavailable: brokers or registry do not answer.
        """
        for batch in read_batches(topic, connection, cluster_id=cluster_id, last=last):
            self.judge(records_of(batch), seen)

    def judge(self, records: Iterable[SourceRecord], seen: Seen) -> None:
        """Judge records as a reader gets them; a tombstone holds nothing."""
        for record in records:
            if record.value is None:
                continue
            try:
                ref, start = parse_frame(record.value, record.headers)
                found = list(declared_values(self._text(ref), record.value[start:], self._declared))
            except RecordError:
                seen.add("unreadable", str(record.position))
                continue
            for path, value in found:
                seen.add(judged(value), f"{record.position} {self._declared[path]}")

    def _text(self, ref: SchemaRef) -> str:
        if ref not in self._texts:
            known = self._local.get(ref.id) if ref.id is not None else None
            self._texts[ref] = self._schemas.get(ref).schema if known is None else known
        return self._texts[ref]
