"""What waits for a free request goes out together, and nobody is refused for his neighbour."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from queue import Queue

import pytest

from tests.fakes.keyservice import FakeKeyService
from worker.errors import KeyAccessDenied, KeyServiceUnavailable
from worker.model import Audit, DataKey, IdentityClaim, KeySpec, Value
from worker.zerokms.keys.gather import Gatherer

AUDIT = Audit("test")


def spec(tenant: str, keyset: str | None = None) -> KeySpec:
    return KeySpec(keyset, "users/email", (Value("tenant", tenant),))


class Held(FakeKeyService):
    """The fake whose first call waits until it is let go, so that what comes meanwhile waits."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go = threading.Event(), threading.Event()

    def ask(self, specs: Sequence[KeySpec]) -> list[DataKey]:
        if not self.entered.is_set():
            self.entered.set()
            assert self.go.wait(20)
        return self.generate(specs, AUDIT)


def behind_one(service: Held, asks: Sequence[Sequence[KeySpec]], size: int = 500) -> list[list[DataKey] | Exception]:
    """Ask while one request is under way; returns each answer or error."""
    gatherer = Gatherer(service.ask, threads=1, size=lambda: size)
    first = gatherer.ask([spec("first")])
    assert service.entered.wait(20)
    futures = [gatherer.ask(each) for each in asks]
    service.go.set()
    first.result(20)
    answers: list[list[DataKey] | Exception] = []
    for future in futures:
        error = future.exception(20)
        answers.append(future.result() if error is None else error)  # type: ignore[arg-type]
    gatherer.close()
    return answers


def test_joins_what_waits_into_one_request() -> None:
    """Asks for many contexts that come while a request is under way cost one more, each answered with its own keys."""
    service = Held()
    asks = [[spec(str(i))] * 3 for i in range(40)]

    answers = behind_one(service, asks)

    assert service.calls == [("generate", 1), ("generate", 120)]
    ivs = [key.iv for answer in answers if isinstance(answer, list) for key in answer]
    assert len(set(ivs)) == len(ivs) == 120


def test_joins_up_to_a_full_request() -> None:
    """A joined request holds no more keys than a full one."""
    service = Held()

    behind_one(service, [[spec(str(i))] * 40 for i in range(5)], size=100)

    assert [count for _, count in service.calls] == [1, 80, 80, 40]


def test_joins_only_what_is_of_one_keyset() -> None:
    """Keysets are asked for apart."""
    service = Held()

    behind_one(service, [[spec("a")], [spec("b")], [spec("c", "other")], [spec("d", "other")]])

    assert [count for _, count in service.calls] == [1, 2, 2]


def test_refuses_nobody_for_his_neighbour() -> None:
    """Where the service refuses a joined request, each part is asked for by itself."""
    service = Held()
    refused = KeySpec(None, "users/email", policy=(), context=(IdentityClaim("missing"),))

    answers = behind_one(service, [[spec("a")], [refused], [spec("b")]])

    assert [isinstance(answer, KeyAccessDenied) for answer in answers] == [False, True, False]


def test_an_outage_is_told_to_all_and_not_repeated() -> None:
    """An outage fails every part at once: repeating is for the retries below."""
    service = Held()
    service.before = lambda: setattr(
        service, "error", KeyServiceUnavailable("away") if len(service.calls) > 1 else None
    )

    answers = behind_one(service, [[spec("a")], [spec("b")]])

    assert all(isinstance(answer, KeyServiceUnavailable) for answer in answers)
    assert len(service.calls) == 2


def test_closing_cancels_what_waits() -> None:
    """What has not gone out when the cache closes never does."""
    service = Held()
    gatherer = Gatherer(service.ask, threads=1, size=lambda: 500)
    under_way = gatherer.ask([spec("a")])
    assert service.entered.wait(20)
    waiting = gatherer.ask([spec("b")])

    closing = threading.Thread(target=gatherer.close)
    closing.start()
    with pytest.raises(CancelledError):
        waiting.result(20)
    service.go.set()
    closing.join(20)

    assert len(under_way.result(0)) == 1
    assert service.calls == [("generate", 1)]


def test_new_contexts_do_not_keep_known_ones_waiting() -> None:
    """However many asks for new contexts wait, one thread is left for known ones, and these go first."""
    entered: Queue[str] = Queue()
    gates = {name: threading.Event() for name in ("new", "known")}

    def generate(specs: Sequence[KeySpec]) -> list[DataKey]:
        name = specs[0].descriptor
        entered.put(name)
        assert gates[name].wait(20)
        return FakeKeyService().generate(specs, AUDIT)

    gatherer = Gatherer(generate, threads=3, size=lambda: 1)
    new = [gatherer.ask([KeySpec(None, "new")], is_new=True) for _ in range(6)]
    first = {entered.get(timeout=20), entered.get(timeout=20)}
    known = [gatherer.ask([KeySpec(None, "known")]) for _ in range(3)]
    second = entered.get(timeout=20)
    gates["known"].set()
    for answer in known:
        answer.result(20)
    waiting = [answer.done() for answer in new]
    gates["new"].set()
    for answer in new:
        answer.result(20)
    gatherer.close()

    assert (first, second) == ({"new"}, "known")
    assert not any(waiting)
