"""Why no answer came over HTTP, of real sockets: the cause in words, and nothing of a request."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from worker.http_client import open_client, silence
from worker.local.tls import CertificateAuthority


@contextlib.contextmanager
def answering(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """Give the port of a server that takes one connection after the other, and answers as told."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with contextlib.suppress(OSError), connection:
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        # Closing alone would leave the thread in its wait.
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def why(url: str) -> str:
    with open_client(timeout_s=10) as client, pytest.raises(httpx.HTTPError) as raised:
        client.get(url)
    return silence(raised.value)


def test_nothing_listens_or_the_name_is_none() -> None:
    """A refused connection is told from a name that does not resolve."""
    assert why("http://127.0.0.1:1/") == "nothing listens there (connection refused)"
    assert "its name does not resolve" in why("http://nowhere.invalid/")


def test_plain_http_where_tls_is_asked_for() -> None:
    """An https address of an http server says so."""
    with answering(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert "no TLS there" in why(f"https://127.0.0.1:{port}/")


def test_a_server_that_speaks_no_http() -> None:
    """What breaks off or speaks another protocol is no HTTP."""
    with answering(lambda connection: connection.sendall(b"\x15\x03\x03 a TLS alert")) as port:
        assert "it speaks no HTTP" in why(f"http://127.0.0.1:{port}/")


def test_a_certificate_that_nobody_trusts(tmp_path: Path) -> None:
    """An own authority's certificate asks for its CA by the variable that names it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CertificateAuthority(tmp_path).issue("localhost"))

    with answering(lambda connection: context.wrap_socket(connection, server_side=True)) as port:
        told = why(f"https://localhost:{port}/")

    assert "its certificate is refused" in told
    assert "SSL_CERT_FILE names the CA" in told
