"""
An authority in a process of its own, near and with added latency: `python -m tests.bench.far DIRECTORY SECONDS...`.

The delay is the answering process's own wait, half before a request is read and half before its answer goes out, so
that it costs no core of the machine that is measured, as a long line would not.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker import interpreter
from worker.authority.connections import Guard
from worker.authority.dev import DevAuthority
from worker.authority.limits import ConnectionLimits
from worker.authority.server import bind, server
from worker.metrics import Metrics


def delayed(app: ASGIApp, latency_s: float) -> ASGIApp:
    """Return the application as it looks from far away."""

    async def far(scope: Scope, receive: Receive, send: Send) -> None:
        async def late(message: Message) -> None:
            if message["type"] == "http.response.start":
                await asyncio.sleep(latency_s / 2)
            await send(message)

        await asyncio.sleep(latency_s / 2)
        await app(scope, receive, late)

    return far


def main(directory: str, latencies: list[str]) -> None:
    """
    Serve until the standard input ends; print one line of JSON: the credentials, and a URL by latency.

    Each line that comes is answered by one: how many requests for data keys were answered, and how many keys given.
    """
    interpreter.set_up()
    with DevAuthority("eu-central-1", Path(directory)) as near:
        urls = {}
        for latency in latencies:
            listening = bind("127.0.0.1", 0)
            far = server(delayed(near.authority.app, float(latency)), Guard(ConnectionLimits(), near.authority.metrics))
            threading.Thread(target=far.run, args=([listening],), daemon=True).start()
            urls[latency] = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        print(json.dumps({"env": near.env, "far": urls}), flush=True)
        for _ in sys.stdin:
            print(json.dumps(counted(near.authority.metrics)), flush=True)


def counted(metrics: Metrics) -> dict[str, float]:
    """Return requests and keys of `generate-data-key`, as the authority counts them."""

    def sample(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(name, {"region": "eu-central-1", **labels}) or 0.0

    return {
        "requests": sample("authority_requests_total", endpoint="generate-data-key", status="200"),
        "keys": sample("authority_keys_total", operation="generate"),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
