"""Bodies of requests as they arrive: bounded, and the long ones one after the other of each caller."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any

from fastapi import Request
from pydantic import BaseModel, ValidationError

from worker.authority import decoding
from worker.authority.limits import LimitOptions
from worker.authority.reading import asks_for_keys, read_apart, read_native, read_native_apart, read_plain
from worker.authority.refusal import Refusal
from worker.authority.turns import Turns

_SHORT_BYTES, LONG_BYTES, _ODD_BYTES, _OTHER_BYTES = 160 * 1024, 512 * 1024, 8 * 1024, 256 * 1024
"""
What is not short is read in a thread, and what is long, which a thousand usual keys are not, one after the other of
each caller. Of what is not read natively that is much less, and a body that asks for no keys has a bound of its own.
"""
_REFUSED_BYTES, _REFUSED_S = 8 * 1024 * 1024, 0.5


class Bodies:
    """
    Reads bodies; used from the event loop alone.

    Args:
        limits: of a request.

    Attributes:
        apart: the one thread for what keeps the interpreter busy, and so is in nobody's way.
    """

    def __init__(self, limits: LimitOptions) -> None:
        self._limits = limits
        self.apart = ThreadPoolExecutor(1, "apart")
        self._native = ThreadPoolExecutor(1, "native")
        self._turns = Turns(1)

    async def read(self, request: Request, model: type[BaseModel], who: str | None = None) -> Any:
        """
        Read a body; raises a 400, 408 or 413.

        Args:
            request: whose.
            model: what it is to be.
            who: asks; None where nobody knows, who gets little and takes turns with others of the address.
        """
        known = self._limits.body_bytes if asks_for_keys(model) else _OTHER_BYTES
        most = self._limits.open_body_bytes if who is None else known
        turn = self._turns.of(address(request) if who is None else who)
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._limits.body_s):
                    parts = await _received(request, most, held, turn)
            except TimeoutError:
                raise Refusal(408, "the body took too long to arrive") from None
            try:
                return await self._read(model, parts, held, turn)
            except ValidationError as exc:
                raise decoding.not_valid(exc) from None

    async def _read(
        self, model: type[BaseModel], parts: list[bytes], held: AsyncExitStack, turn: asyncio.Semaphore
    ) -> Any:
        size, keys = sum(map(len, parts)), self._limits.keys_per_request
        run, has_turn = asyncio.get_running_loop().run_in_executor, size > LONG_BYTES
        try:
            if size <= _SHORT_BYTES:
                native = read_native(model, parts, keys)
            elif has_turn:
                native = await run(self.apart, read_native_apart, model, parts, keys)
            else:
                native = await run(self._native, read_native, model, parts, keys)
            if native is not None:
                return native
            if size <= _ODD_BYTES:
                return read_plain(model, b"".join(parts), keys)
            if not has_turn:
                await held.enter_async_context(turn)
                has_turn = True
            return await run(self.apart, read_apart, model, parts, keys)
        except (Refusal, ValidationError):
            if size > _ODD_BYTES:
                # Within its turn: whoever sends such bodies one after the other has the fewer of them looked at.
                if not has_turn:
                    await held.enter_async_context(turn)
                await asyncio.sleep(_REFUSED_S)
            raise


async def _received(request: Request, most: int, held: AsyncExitStack, turn: asyncio.Semaphore) -> list[bytes]:
    """Return a body as it came; a long one waits for its caller's turn, unread."""
    parts: list[bytes] = []
    size, is_long = 0, False
    is_refused = int(request.headers.get("content-length", 0)) > most
    async for part in request.stream():
        size += len(part)
        is_refused = is_refused or size > most
        if is_refused:
            # Whoever still sends would not read an answer: the rest comes, within reason, and is not kept.
            parts.clear()
            if size > _REFUSED_BYTES:
                break
            continue
        parts.append(part)
        if size > LONG_BYTES and not is_long:
            is_long = True
            await held.enter_async_context(turn)
    if is_refused:
        raise Refusal(413, f"the body is longer than {most} bytes")
    return parts


def address(request: Request) -> str:
    """Return where a request comes from."""
    return "" if request.client is None else request.client.host
