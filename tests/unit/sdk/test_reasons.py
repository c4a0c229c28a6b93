"""Identity and reason: what the audit is told, and what is shared under it."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from tests.unit.sdk.services import Asynchronous, Recording
from worker import AsyncEncryption, Encryption, LockContext
from worker.errors import ConfigError, KeyServiceUnavailable

FIELD = "acme.crm.Customer/email"


def test_a_call_says_why(service: Recording) -> None:
    """A call's own reason counts before that of the block, and that before the client's."""
    with Encryption.over(service, reason="nightly", cache=None) as encryption:
        envelope = encryption.encrypt("ann", field=FIELD)
        with encryption.because("ticket 1"):
            encryption.decrypt(envelope)
            with encryption.because("ticket 2"):
                encryption.decrypt(envelope)
            encryption.decrypt(envelope, reason="ticket 3")
        encryption.decrypt_many([envelope])

    assert service.reasons("generate") == ["nightly"]
    assert service.reasons("retrieve") == ["ticket 1", "ticket 2", "ticket 3", "nightly"]


def test_a_reason_is_of_its_own_client_and_thread(service: Recording) -> None:
    """What one client's block says is not said by another, nor by a thread that was there before."""
    other = Recording()
    with Encryption.over(service, cache=None) as mine, Encryption.over(other, cache=None) as theirs:
        started, go = threading.Event(), threading.Event()

        def elsewhere() -> None:
            started.set()
            go.wait(30)
            mine.encrypt("bob", field=FIELD)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        started.wait(30)
        with mine.because("ticket 1"):
            theirs.encrypt("ann", field=FIELD)
            go.set()
            thread.join(30)

    assert service.reasons("generate") == [None]
    assert other.reasons("generate") == [None]


def test_tasks_give_reasons_of_their_own() -> None:
    """A task's block holds for that task, in calls of one value and of many."""
    service = Recording()

    async def work(encryption: AsyncEncryption, reason: str) -> None:
        with encryption.because(reason):
            await encryption.encrypt("ann", field=FIELD)
            await encryption.encrypt_many(["ann"], field=FIELD)

    async def story() -> None:
        async with (
            AsyncEncryption.over(Asynchronous(service), cache=None) as encryption,
            anyio.create_task_group() as group,
        ):
            for reason in ("a", "b"):
                group.start_soon(work, encryption, reason)

    anyio.run(story)

    assert sorted(map(str, service.reasons("generate"))) == ["a", "a", "b", "b"]


@pytest.mark.parametrize("by", ["option", "authority"])
def test_a_reason_that_is_required_is_asked_for_before_anything_is_sent(service: Recording, by: str) -> None:
    """Without a reason nothing is asked; with one nothing is kept, so that each read is in the audit."""
    service.tokens.needs_reason = by == "authority"
    with Encryption.over(service, require_reason=by == "option") as encryption:
        with pytest.raises(ConfigError, match="reason="):
            encryption.encrypt("ann", field=FIELD)
        assert service.asked == []
        envelope = encryption.encrypt("ann", field=FIELD, format="leased", reason="ticket 1")
        for _ in range(2):
            encryption.decrypt(envelope, reason="ticket 1")

    assert service.reasons("retrieve") == ["ticket 1", "ticket 1"]


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 513, 7])
def test_refuses_a_reason_that_says_nothing_or_too_much(service: Recording, reason: Any) -> None:
    """A reason is one line that an auditor can read."""
    with pytest.raises(ConfigError, match="reason"):
        Encryption.over(service, reason=reason)
    with Encryption.over(service) as encryption, pytest.raises(ConfigError, match="reason"):
        encryption.encrypt("ann", field=FIELD, reason=reason)


def test_a_new_reason_always_reaches_the_audit(service: Recording) -> None:
    """A key that is kept serves again under its own reason, and is asked for anew under another."""
    with Encryption.over(service) as encryption:
        envelope = encryption.encrypt("ann", field=FIELD, format="leased")
        for reason in ("ticket 1", "ticket 1", "ticket 2", None):
            encryption.decrypt(envelope, reason=reason)

    assert service.reasons("retrieve") == ["ticket 1", "ticket 2", None]


def test_keys_are_of_one_subject_and_one_lock(service: Recording) -> None:
    """Another subject's token, or another lock context, asks for keys of its own."""
    with Encryption.over(service) as encryption:
        envelope = encryption.encrypt("ann", field=FIELD, format="leased")
        encryption.encrypt("bob", field=FIELD, format="leased")
        encryption.decrypt(envelope)
        service.tokens.subject = "CS|bob"
        encryption.decrypt(envelope)
        again = encryption.encrypt("cid", field=FIELD, format="leased")
        locked = encryption.encrypt("cid", field=FIELD, format="leased", lock_context=LockContext(tags=("a",)))

    assert [asked.call for asked in service.asked] == ["generate", "retrieve", "retrieve", "generate", "generate"]
    assert len({envelope[18:34], again[18:34], locked[18:34]}) == 3


def test_what_a_claim_decides_on_is_asked_for_each_time(service: Recording) -> None:
    """A key locked to a claim's value is never kept: the token's value may change under the same subject."""
    lock = LockContext(identity=("sub",))
    with Encryption.over(service) as encryption:
        envelope = encryption.encrypt("ann", field=FIELD, format="leased", lock_context=lock)
        other = encryption.encrypt("bob", field=FIELD, format="leased", lock_context=lock)
        for _ in range(2):
            encryption.decrypt(envelope, lock_context=lock)

    assert envelope[18:34] != other[18:34]
    assert [asked.call for asked in service.asked] == ["generate", "generate", "retrieve", "retrieve"]


def test_an_answer_for_a_subject_that_changed_meanwhile_is_not_kept(service: Recording) -> None:
    """A token that was exchanged anew during the request may be another's."""

    def change() -> None:
        service.tokens.subject += "!"

    with Encryption.over(service) as encryption:
        envelope = encryption.encrypt("ann", field=FIELD, format="leased")
        service.during = change
        encryption.decrypt(envelope)
        service.during = lambda: None
        encryption.decrypt(envelope)

    assert len(service.reasons("retrieve")) == 2


def test_a_closed_client_says_so(service: Recording) -> None:
    """After its block a client asks nothing and says what to do."""
    with Encryption.over(service) as encryption:
        envelope = encryption.encrypt("ann", field=FIELD)
    encryption.close()

    for call in (lambda: encryption.encrypt("ann", field=FIELD), lambda: encryption.decrypt(envelope)):
        with pytest.raises(ConfigError, match="closed"):
            call()


def test_an_outage_is_no_refusal(service: Recording) -> None:
    """A service that does not answer is told apart from one that refuses."""
    with Encryption.over(service, cache=None) as encryption:
        envelope = encryption.encrypt("ann", field=FIELD)
        service.error = KeyServiceUnavailable("away")
        with pytest.raises(KeyServiceUnavailable):
            encryption.decrypt(envelope)


@pytest.mark.parametrize(
    ("options", "word"),
    [({"bind": {"id": 7}, "format": "leased"}, "bind"), ({"format": "lease"}, "format"), ({"field": 7}, "field")],
)
def test_wrong_arguments_are_named_before_anything_is_sent(
    service: Recording, options: dict[str, Any], word: str
) -> None:
    """What can't be sent is refused here, with what to give instead."""
    with Encryption.over(service) as encryption, pytest.raises(ConfigError, match=word):
        encryption.encrypt("ann", **{"field": FIELD, **options})

    assert service.asked == []
