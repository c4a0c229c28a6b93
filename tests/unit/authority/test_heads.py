"""What is absurd on a connection is refused before it is parsed, and what is unusual is read."""

from __future__ import annotations

import json
import logging
import socket

import h11
import httpx
import pytest

from tests.unit.authority.conftest import party
from worker.authority.dev import DevAuthority
from worker.authority.heads import BoundedConnection

START = b"POST /api/authorise HTTP/1.1\r\nhost: x\r\n"
CHUNKED = START + b"transfer-encoding: chunked\r\n\r\n"


def in_pieces(body: bytes, size: int) -> bytes:
    """A body in pieces of one size."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


def read(connection: h11.Connection, data: bytes, packet: int) -> bytes:
    """What a body is read as; raises as a connection does."""
    body = b""
    for at in range(0, len(data), packet):
        connection.receive_data(data[at : at + packet])
        while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            if isinstance(event, h11.Data):
                body += event.data
    assert connection.their_state is h11.DONE
    return body


@pytest.mark.parametrize("packet", [7, 65536])
@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + in_pieces(b"0\r\n" * 30_000, 1500) + b"0\r\n\r\n",
        CHUNKED + in_pieces(b"{}" * 8, 1) + b"00;more=1\r\ntrailer: 1\r\n\r\n",
        START + b"a: " + b"b" * 15_000 + b"\r\n" + b"c: d\r\n" * 50 + b"content-length: 3\r\n\r\n0\r\n",
        START + b"content-length: 80000\r\n\r\n" + b"0\r\n\r\n" * 16_000,
        b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    ],
    ids=["pieces", "few_small", "head", "lines_of_a_body", "target"],
)
def test_what_is_unusual_is_read(data: bytes, packet: int) -> None:
    """Bodies in pieces, long heads and lines within a body, however they arrive."""
    expected = read(h11.Connection(h11.SERVER, 1 << 20), data, len(data))

    assert read(BoundedConnection(), data, packet) == expected


ABSURD = {
    "pieces": CHUNKED + in_pieces(b"{}" * 1000, 1),
    "lines": START + b"a: b\r\n" * 70 + b"\r\n",
    "head": START + b"a: " + b"b" * 17_000 + b"\r\n\r\n",
    "target": b"GET /" + b"a" * 2100 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    "tail": CHUNKED + in_pieces(b"{}", 9) + b"0\r\n" + b"a: b\r\n" * 70 + b"\r\n",
    "next": START + b"content-length: 2\r\n\r\n{}" + START + b"a: b\r\n" * 70 + b"\r\n",
}


@pytest.mark.parametrize("packet", [7, 65536])
@pytest.mark.parametrize("kind", [kind for kind in ABSURD if kind != "next"])
def test_what_is_absurd_is_not(kind: str, packet: int) -> None:
    """Tiny pieces, and heads and tails of many lines or bytes."""
    with pytest.raises(h11.RemoteProtocolError, match="too"):
        read(BoundedConnection(), ABSURD[kind], packet)


@pytest.mark.parametrize("kind", ABSURD)
def test_it_ends_its_own_connection_without_a_line(
    dev: DevAuthority, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends it is told so, or hung up on; nothing is written to the log, and others are answered."""
    host, port = dev.url.split("/")[2].split(":")
    caplog.set_level(logging.INFO)
    with socket.create_connection((host, int(port)), 30) as connection:
        connection.sendall(ABSURD[kind])
        said = b""
        try:
            while more := connection.recv(65536):
                said += more
        except ConnectionResetError:
            pass

    assert b"HTTP/1.1 400 " in said or kind == "next"
    assert not [line for line in caplog.records if line.name.startswith("uvicorn.error")]
    assert party(dev).generate()[1]


def test_a_request_in_pieces_is_answered(dev: DevAuthority) -> None:
    """Some clients send JSON in pieces."""
    body = json.dumps({"accessKey": dev.env["CS_CLIENT_ACCESS_KEY"]}).encode()
    answer = httpx.post(dev.url + "api/authorise", content=iter([body[:9], body[9:]]), trust_env=False)

    assert answer.status_code == 200
