"""One request: who asks, may they, what do they ask, what is the answer, and its line in the audit before it leaves."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

from worker.authority import asked
from worker.authority.access import Caller
from worker.authority.audit import Receipt, Trail
from worker.authority.bodies import LONG_BYTES, Bodies, address
from worker.authority.endpoints import Endpoint
from worker.authority.freshness import Freshness
from worker.authority.guesses import Guesses
from worker.authority.head import Head
from worker.authority.refusal import Refusal
from worker.authority.refusals import Refusals
from worker.authority.replies import as_json, refusal_of, refused
from worker.authority.state import Changed
from worker.authority.tokens import Tokens
from worker.authority.turns import Turns
from worker.metrics import Metrics

_MALFORMED = (400, 408, 413)
_UNDER_WAY = 5
"""Derivations of one caller, as many requests as a client has in flight; all others let other callers go before."""
_SOON_S = 0.05
"""A body that takes longer to arrive, or waits longer for its turn, is judged by what the store has then."""
Action = Callable[[Caller, Any], Any]
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class _Change:
    """An admin action under way: its line is written within the transaction, so that neither is without the other."""

    trail: Trail
    event: Callable[[], dict[str, Any]]
    caller: Caller
    receipt: Receipt | None = None

    def commit(self, version: int) -> None:
        # Within the write, which sees all that came before: nobody writes anything once its rights have been taken.
        if self.caller.as_of_now().rights != self.caller.rights:
            raise Refusal(401, "the rights of this token's subject have changed meanwhile; ask again")
        self.receipt = self.trail.record({**self.event(), "outcome": "allowed", "version": version})


_change: ContextVar[_Change | None] = ContextVar("change", default=None)


def before_commit(head: Head, _changes: Sequence[Changed], _still: Callable[[], object]) -> None:
    """Write the line of the admin action under way, if there is one; a store's `before_commit`."""
    change = _change.get()
    if change is not None:
        change.commit(head.version)


@dataclass(slots=True)
class Answering:
    """
    Makes handlers of actions.

    Args:
        tokens: say who a caller is.
        trail: where lines go.
        fresh: sees what other replicas have written.
        metrics: where requests are counted.
        bodies: read what is asked.
        deriving: the one thread for large derivations.
        guesses: hold up who sends wrong credentials.
        refusals: says which refusals have a line of their own.
        may_wait: says whether an answer may wait for what is outside; nobody else waits with it.
    """

    tokens: Tokens
    trail: Trail
    fresh: Freshness
    metrics: Metrics
    bodies: Bodies
    deriving: ThreadPoolExecutor = field(repr=False)
    guesses: Guesses
    refusals: Refusals
    may_wait: Callable[[Caller, Any], bool]
    _waiting: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, "waiting"), init=False, repr=False
    )
    _turns: Turns = field(default_factory=lambda: Turns(_UNDER_WAY), init=False, repr=False)
    _long: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1), init=False, repr=False)

    def handler(self, endpoint: Endpoint, model: type[BaseModel] | None, action: Action) -> Handler:
        """Return an endpoint's handler."""

        async def handle(request: Request) -> Response:
            began = time.perf_counter()
            response = await self._answer(request, endpoint, model, action)
            path = endpoint.path.strip("/")
            self.count(path, response, began)
            self.metrics.traces.served(
                path, request.headers, status=response.status_code, seconds=time.perf_counter() - began
            )
            return response

        return handle

    def count(self, path: str, response: Response, began: float) -> None:
        """Count one answer."""
        self.metrics.inc("authority_requests_total", endpoint=path, status=str(response.status_code))
        self.metrics.observe("authority_request_seconds", time.perf_counter() - began, endpoint=path)

    async def refusing(self, request: Request, answer: Callable[[], Awaitable[Any]]) -> Response:
        """Return an answer, or why there is none, without a line in the audit."""
        try:
            return as_json(await answer())
        except Exception as exc:
            return await self.unknown(request, exc)

    async def caller(self, request: Request) -> Caller:
        """Return who asks, by what the store holds now; raises a 401, or a 503 where the store can't be believed."""
        await self.fresh()
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Refusal(401, "a service token is needed")
        if not self.tokens.is_plausible(token):
            self.turn_away(request)
        return self.tokens.verify(token)

    def turn_away(self, request: Request) -> None:
        """Raise a 429 where so many of the caller's address wait for having guessed that no more is looked at."""
        if self.guesses.is_turned_away(address(request)):
            wait = self.guesses.penalty_s
            raise Refusal(429, "too many wrong credentials from this address", retry_after_s=wait)

    async def unknown(self, request: Request, exc: Exception) -> Response:
        """Return why a caller is not let in; one that guesses waits for it, and whoever gets no token."""
        refusal = refusal_of(exc)
        if refusal.status in (401, 429) or request.url.path.startswith("/api/authori"):
            await self.guesses.wrong(address(request))
        return refused(refusal)

    async def _answer(
        self, request: Request, endpoint: Endpoint, model: type[BaseModel] | None, action: Action
    ) -> Response:
        try:
            caller = await self.caller(request)
        except Exception as exc:
            return await self.unknown(request, exc)

        def event() -> dict[str, Any]:
            return _event(endpoint, caller, request)

        change = _Change(self.trail, event, caller) if endpoint.kind == "change" else None
        begun: list[Future[Receipt]] = []
        if endpoint.kind == "derive":
            # The line goes to the disk while the keys are computed; the answer waits for both.
            decided = lambda: begun.append(self.trail.append({**event(), "outcome": "allowed"}))  # noqa: E731
            caller = replace(caller, decided=decided)
        token = _change.set(change)
        try:
            response = as_json(await self._act(request, endpoint, model, action, caller))
            outcome: dict[str, Any] = {"outcome": "allowed"}
        except Exception as exc:
            refusal = refusal_of(exc)
            response = refused(refusal)
            word = "malformed" if refusal.status in _MALFORMED else "failed" if refusal.status >= 500 else "refused"
            outcome = {"outcome": word, "status": refusal.status, "reason": refusal.reason}
            if endpoint.kind == "derive":
                self.metrics.inc("authority_refusals_total", operation=endpoint.name)
        finally:
            _change.reset(token)
        is_allowed = outcome["outcome"] == "allowed"
        receipt = change.receipt if change is not None and is_allowed else None
        if receipt is None and (endpoint.kind != "read" or response.status_code != 200):
            entry = {**event(), **outcome}
            if outcome["outcome"] in ("refused", "malformed") and not self.refusals.has_line(entry):
                return response
            try:
                receipt = await _landed(begun[0] if begun and is_allowed else self.trail.append(entry))
            except Refusal as refusal:
                return refused(refusal)
        if receipt is not None:
            response.headers["audit-entry"] = str(receipt.place)
            response.headers["audit-head"] = str(receipt.head)
        return response

    async def _act(
        self, request: Request, endpoint: Endpoint, model: type[BaseModel] | None, action: Action, caller: Caller
    ) -> Any:
        caller.require(*endpoint.scopes)
        began = time.perf_counter()
        body = None if model is None else await self.bodies.read(request, model, caller.subject)
        if endpoint.kind == "derive":
            # One thread each: more would only take the interpreter from each other.
            run = asyncio.get_running_loop().run_in_executor
            if self.may_wait(caller, body):
                return await run(self._waiting, self._late, endpoint, action, caller, body, began)
            if asked.is_brief(body):
                return action(await self._still(endpoint, caller, began), body)
            is_usual = isinstance(body, asked.NativeAsked) and body.size <= LONG_BYTES
            thread = self.deriving if is_usual else self.bodies.apart
            async with self._turns.of(caller.subject):
                return await run(thread, action, await self._still(endpoint, caller, began), body)
        if endpoint.kind == "change":
            row = request.path_params.get("row")
            caller.note["what"] = ({} if body is None else body.audited()) | ({} if row is None else {"id": row})
        async with self._long if endpoint.is_long else contextlib.nullcontext():
            return await asyncio.to_thread(action, await self._still(endpoint, caller, began), body)

    async def _still(self, endpoint: Endpoint, caller: Caller, began: float) -> Caller:
        """Return a caller as the store has it now, where it was let in a while ago; raises as `caller`."""
        if time.perf_counter() - began < _SOON_S:
            return caller
        await self.fresh()
        return _renewed(endpoint, caller)

    def _late(self, endpoint: Endpoint, action: Action, caller: Caller, body: Any, began: float) -> Any:
        """Act on a thread on which others may have taken their time."""
        if time.perf_counter() - began >= _SOON_S:
            self.fresh.now()
            caller = _renewed(endpoint, caller)
        return action(caller, body)


def _renewed(endpoint: Endpoint, caller: Caller) -> Caller:
    caller = caller.as_of_now()
    caller.require(*endpoint.scopes)
    return caller


async def _landed(receipt: Future[Receipt]) -> Receipt:
    return receipt.result() if receipt.done() else await asyncio.wrap_future(receipt)


def _event(endpoint: Endpoint, caller: Caller, request: Request) -> dict[str, Any]:
    who = {"workspace": caller.workspace, "subject": caller.subject, "actor": caller.access_key}
    derived: dict[str, Any] = {
        "client": None,
        "keyset": None,
        "keyset_name": None,
        "count": 0,
        "unverified_context": {},
    }
    more = derived if endpoint.kind == "derive" else {}
    return {"operation": endpoint.name, **who, "address": address(request), **more, **caller.note}
