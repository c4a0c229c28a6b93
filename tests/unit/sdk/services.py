"""Key services in memory that remember whom they were asked by, why, and how often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import anyio

from tests.fakes.keyservice import FakeKeyService
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest


@dataclass(slots=True)
class Tokens:
    """The identity of a key service, changed by a test."""

    subject: str = "CS|ann"
    needs_reason: bool = False


@dataclass(slots=True)
class Asked:
    """One request: `generate` or `retrieve`, for how many keys, and what the audit was told."""

    call: str
    count: int
    audit: Audit
    items: Sequence[object] = field(repr=False)


class Recording(FakeKeyService):
    """A key service that remembers its requests; `during` runs while one is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = Tokens()
        self.asked: list[Asked] = []
        self.during: Callable[[], None] = lambda: None
        self._recording = threading.Lock()

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        with self._recording:
            self.asked.append(Asked("generate", len(requests), audit, tuple(requests)))
        self.during()
        return super().generate(requests, audit)

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        with self._recording:
            self.asked.append(Asked("retrieve", len(requests), audit, tuple(requests)))
        self.during()
        return super().retrieve(requests, audit)

    def reasons(self, call: str) -> list[str | None]:
        """What the audit was told of the requests of one kind."""
        return [asked.audit.reason for asked in self.asked if asked.call == call]


class Asynchronous:
    """A key service as one whose calls are coroutines; each takes a turn of the loop."""

    def __init__(self, service: FakeKeyService) -> None:
        self.service = service
        self.tokens = getattr(service, "tokens", Tokens())
        self.is_closed = False

    async def generate(self, requests: Sequence[KeySpec], audit: Audit) -> list[DataKey]:
        await anyio.lowlevel.checkpoint()
        return self.service.generate(requests, audit)

    async def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> list[DataKey | KeyRefused]:
        await anyio.lowlevel.checkpoint()
        return self.service.retrieve(requests, audit)

    async def close(self) -> None:
        self.is_closed = True
