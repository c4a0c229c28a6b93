"""Whose records are: found by a field of the root, or by the context of a declared value at any depth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from worker.errors import DeclarationError, RecordError
from worker.model import Fates, SourceRecord, batch_of
from worker.pipeline.groups import Group, grouped
from worker.pipeline.schemas import InputSchemas

Whose = Literal["subject", "other", "unreadable"]


class Subjects:
    """
    Tells one subject's records from others'.

    Args:
        schemas: makes a reader of records that extracts some fields of the root.
        subject: a context's name and text.
    """

    def __init__(self, schemas: Callable[[Sequence[str]], InputSchemas], subject: tuple[str, str]) -> None:
        self._name, self._text = subject
        self._plain, self._extracting = schemas(()), schemas((self._name,))

    def of(self, records: Sequence[SourceRecord]) -> list[Whose]:
        """Return whose each record is; `unreadable` where nobody can tell."""
        batch = batch_of(records)
        fates = Fates(len(batch))
        groups, tombstones = grouped(batch, fates)
        whose: list[Whose] = ["unreadable"] * len(batch)
        for i in tombstones:
            whose[i] = "other"
        for group in groups:
            try:
                found = self._of_group(group)
            except (RecordError, DeclarationError):
                continue
            for i, verdict in zip(group.indexes, found, strict=True):
                whose[i] = verdict
        return whose

    def _of_group(self, group: Group) -> list[Whose]:
        said: Sequence[str | None] = [None] * len(group.indexes)
        try:
            schema = self._extracting.get(group.ref)
            split = schema.compiled.split_batch(group.batch, group.batch.keys, group.start)
            said = split.extracted(self._name)
        except DeclarationError:
            # No field of the root is called so.
            schema = self._plain.get(group.ref)
            split = schema.compiled.split_batch(group.batch, group.batch.keys, group.start)
        whose: list[Whose] = ["subject" if text == self._text else "other" for text in said]
        for column in split.columns:
            if self._name in column.plan.context and column.contexts is not None:
                at = column.plan.context.index(self._name)
                for i, texts in zip(column.records, column.contexts, strict=True):
                    if texts[at] == self._text:
                        whose[i] = "subject"
        for i in split.errors:
            whose[i] = "unreadable"
        return whose
