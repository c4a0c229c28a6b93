"""The proxy's faults are what they say."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.proxy import Proxy


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := self.rfile.readline():
                self.wfile.write(chunk)


class EchoServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with EchoServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with Proxy(server.server_address[1]) as running:
            yield running
        server.shutdown()
        thread.join()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), 5)


def first_bytes(proxy: Proxy) -> bytes:
    with connect(proxy) as client:
        return client.recv(100)


def test_forwards_both_ways(proxy: Proxy) -> None:
    """Without a fault the bytes come back."""
    with connect(proxy) as client:
        client.sendall(b"hello\n")

        assert client.recv(100) == b"hello\n"


def test_delay_holds_bytes_back(proxy: Proxy) -> None:
    """A round trip takes at least twice the delay."""
    proxy.delay_s = 0.05
    with connect(proxy) as client:
        start = time.monotonic()
        client.sendall(b"hello\n")
        client.recv(100)

        assert time.monotonic() - start >= 0.1


def test_cut_resets_open_connections(proxy: Proxy) -> None:
    """After a cut the client's read fails."""
    with connect(proxy) as client:
        client.sendall(b"hello\n")
        client.recv(100)

        proxy.cut()

        with pytest.raises(ConnectionResetError):
            client.recv(100)


def test_refuse_resets_new_connections(proxy: Proxy) -> None:
    """A refused connection ends without an answer."""
    proxy.refuse = True

    with pytest.raises(ConnectionResetError):
        first_bytes(proxy)


def test_half_open_answers_only_after_it_heals(proxy: Proxy) -> None:
    """A half-open connection stays silent, and what was sent arrives when it heals."""
    with connect(proxy) as client:
        proxy.half_open = True
        client.sendall(b"hello\n")
        client.settimeout(0.1)
        with pytest.raises(TimeoutError):
            client.recv(100)

        proxy.half_open = False
        client.settimeout(5)

        assert client.recv(100) == b"hello\n"
