"""
Attackers in a process of their own: connections that say nothing or little, callers that guess,
and one stolen credential.

Run as `python -m tests.attack.attackers KIND URL [KNOWN]`; it prints `ready` and goes on until it is killed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import sys
import time
from urllib.parse import urlsplit

ADDRESS = "127.0.0.2"
SILENT = 1000
GUESSERS = 64


async def connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from an address of the attacker's own."""
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port, local_addr=(ADDRESS, 0))


async def silent(url: str, sent: bytes = b"") -> None:
    """Hold a connection that never finishes a head; another as soon as it is closed."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await connect(url)
            writer.write(sent)
            await reader.read(1)
            writer.close()
        await asyncio.sleep(0.05)


async def trickling(url: str) -> None:
    """Send a head one byte a second."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await connect(url)
            for byte in b"POST /generate-data-key HTTP/1.1\r\nhost: x\r\n" * 100:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)
        await asyncio.sleep(0.05)


async def guessing(url: str, request: bytes) -> None:
    """Send wrong credentials as fast as they are answered."""
    while True:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await connect(url)
            while not reader.at_eof():
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.lower().split(b"\r\n")
                # Without a length it is the last answer of this connection.
                length = next((each for each in lines if each.startswith(b"content-length")), b"content-length: 0")
                await reader.readexactly(int(length.split(b":")[1]))


def part(value: object) -> str:
    """A part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def garbage(claims: dict[str, object]) -> str:
    """A token in good form whose signature is none."""
    signature = base64.urlsafe_b64encode(os.urandom(256)).rstrip(b"=").decode()
    return f"{part({'alg': 'RS256', 'kid': os.urandom(4).hex()})}.{part(claims)}.{signature}"


def request(path: str, body: dict[str, object], token: str = "") -> bytes:
    """A whole request."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def contexts(count: int) -> dict[str, object]:
    """A body near the longest, each key of which has a context of its own."""
    keys = [{"iv": "AAAAAAAAAAAAAAAAAAAAAA==", "descriptor": "d", "context": [{"Tag": str(n)}]} for n in range(count)]
    return {"client_id": "00000000-0000-0000-0000-000000000000", "keys": keys, "unverified_context": {}}


def stolen(kind: str, token: str) -> list[bytes]:
    """What one stolen credential asks again and again."""
    if kind == "auditor":
        return [request("/api/audit/query", {"operation": "none such", "limit": 1}, token)] * GUESSERS
    asked = contexts(40_000)
    if kind == "odd":
        # Which the models read, and not the native reader.
        asked["keys"] = [{"iv": "AAAAAAAAAAAAAAAAAAAAAA==", "descriptor": "d", "more": n} for n in range(1000)]
    return [request("/generate-data-key", asked, token)] * 8


def tiny_pieces() -> bytes:
    """A body without a good token, one byte a piece."""
    head = (
        b"POST /generate-data-key HTTP/1.1\r\nhost: x\r\nauthorization: Bearer x\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return head + b"1\r\n[\r\n" * 40_000 + b"0\r\n\r\n"


def many_headers() -> bytes:
    """A head of nothing but lines."""
    return b"GET /healthz HTTP/1.1\r\nhost: x\r\n" + b"a:b\r\n" * 12_000 + b"\r\n"


async def main(kind: str, url: str, known: str = "") -> None:
    """Attack; `known` is the workspace's name, or a stolen credential's token."""
    until = int(time.time()) + 3600
    claims: dict[str, object] = {
        "sub": "CS|x",
        "workspace": known,
        "exp": until,
        "iat": 0,
        "region": "eu-central-1",
    }
    oidc: dict[str, object] = {"iss": "https://idp.example/", "aud": "app", "sub": "ann", "exp": until}
    if kind == "silent":
        attackers = [silent(url) for _ in range(SILENT)]
    elif kind == "trickling":
        attackers = [trickling(url) for _ in range(SILENT)]
    elif kind == "tokens":
        requests = [request("/generate-data-key", {}, garbage(claims)) for _ in range(GUESSERS)]
        attackers = [guessing(url, each) for each in requests]
    elif kind in ("auditor", "contexts", "odd"):
        attackers = [guessing(url, each) for each in stolen(kind, known)]
    elif kind in ("pieces", "headers"):
        attackers = [guessing(url, tiny_pieces() if kind == "pieces" else many_headers()) for _ in range(8)]
    elif kind == "bodies":
        # As long as a body may be without a token, and slow to parse.
        nested: dict[str, object] = {"accessKey": [{}] * 15_000}
        attackers = [guessing(url, request("/api/authorise", nested)) for _ in range(GUESSERS)]
    else:
        bodies: list[dict[str, object]] = [{"oidcToken": garbage(oidc), "workspaceId": known} for _ in range(GUESSERS)]
        attackers = [guessing(url, request("/api/authorise", body)) for body in bodies]
    tasks = [asyncio.create_task(each) for each in attackers]
    await asyncio.sleep(1)
    print("ready", flush=True)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
