"""
The one way out over HTTP: every client of a service is made here.

Credentials go where they are addressed: no proxy unless one is named, no redirects, https to any other machine.
"""

from __future__ import annotations

import os
import platform
import socket
import ssl
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httpx

from worker import __version__
from worker.errors import ConfigError

_AGENT = f"residency-worker/{__version__} ({platform.system().lower()} {platform.machine()})"
# Many servers close an idle connection after 5 s; one that we would reuse at that moment is a lost request.
_IDLE_S = 4


# An answer and its stream refer to each other in httpx: what it brought, keys too, would stay in memory until cycles
# are collected, and the next answer need memory of its own.
_READ = httpx.ByteStream(b"")


class _Client(httpx.Client):
    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        response = super().send(request, **options)
        if response.is_closed:
            response.stream = _READ
        return response


class _AsyncClient(httpx.AsyncClient):
    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        response = await super().send(request, **options)
        if response.is_closed:
            response.stream = _READ
        return response


def open_client(
    *,
    timeout_s: float | None,
    connect_timeout_s: float | None = None,
    connections: int = 10,
    proxy: str | None = None,
    verify: ssl.SSLContext | None = None,
    auth: tuple[str, str] | None = None,
) -> httpx.Client:
    """
    Return a connection pool; close it.

    Neither `HTTP_PROXY` and its kin nor `.netrc` are looked at, and no redirect is followed.

    Args:
        timeout_s: of each step of a request; None waits for ever.
        connect_timeout_s: of connecting, if it is another.
        connections: how many at once.
        proxy: the URL of a proxy that the operator names.
        verify: what certificates are checked against; by default `SSL_CERT_FILE`, `SSL_CERT_DIR` or the public ones.
        auth: user and password.
    """
    return _Client(
        **_common(timeout_s, connect_timeout_s, connections, proxy),
        verify=_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")) if verify is None else verify,
        auth=auth,
    )


def open_async_client(
    *, timeout_s: float | None, connect_timeout_s: float | None = None, connections: int = 10, proxy: str | None = None
) -> httpx.AsyncClient:
    """Return a connection pool for an event loop; see `open_client`."""
    return _AsyncClient(
        **_common(timeout_s, connect_timeout_s, connections, proxy),
        verify=_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
    )


def _common(
    timeout_s: float | None, connect_timeout_s: float | None, connections: int, proxy: str | None
) -> dict[str, Any]:
    return {
        "timeout": httpx.Timeout(timeout_s, connect=timeout_s if connect_timeout_s is None else connect_timeout_s),
        "limits": httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_IDLE_S
        ),
        "headers": {"user-agent": _AGENT, "accept-encoding": "gzip"},
        "follow_redirects": False,
        "trust_env": False,
        "proxy": proxy,
    }


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_parts(url: str, what: str) -> SplitResult:
    """
    Return the parts of an address with which a client can be made; raises `ConfigError`, which quotes no login of it.

    The libraries read an address where it is used, and each raises an error of its own kind there.
    """
    try:
        parts = urlsplit(url)
        # Both are looked at by those who ask for them alone.
        _, _, _ = parts.hostname, parts.port, httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as exc:
        raise ConfigError(f"{what} {without_login(url)!r} is no address such as https://host:443/") from exc
    return parts


def proxy_address(url: str) -> str:
    """Return a proxy's address as it is; raises `ValueError` where requests can't go through what it names."""
    try:
        scheme = url_parts(url, "a proxy").scheme
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc
    if scheme not in ("http", "https"):
        raise ValueError(f"{without_login(url)!r} is no proxy for requests: http://host:port or https://host:port")
    return url


def without_login(url: str) -> str:
    """Return an address without the user and password that may stand in it, whatever else is wrong with it."""
    scheme, found, rest = url.rpartition("://")
    return scheme + found + rest.rpartition("@")[2]


def require_https(url: str, what: str) -> None:
    """Refuse plain http to another machine; raises `ConfigError`."""
    parts = url_parts(url, what)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        raise ConfigError(f"{what} {without_login(url)!r} is plain http to another machine; use https")


@lru_cache(maxsize=8)
def _trusted(file: str | None, directory: str | None) -> ssl.SSLContext:
    if file or directory:
        return ssl.create_default_context(cafile=file or None, capath=directory or None)
    return httpx.create_ssl_context(trust_env=False)


_SILENCES: dict[type[BaseException], str] = {
    httpx.ConnectTimeout: "no connection in time",
    httpx.PoolTimeout: "all connections are taken",
    httpx.ReadTimeout: "no answer in time",
    httpx.WriteTimeout: "no answer in time",
    httpx.RemoteProtocolError: "it speaks no HTTP, or broke off: is it https, or another port?",
}


def silence(error: BaseException) -> str:
    """
    Return why no answer came, in words that an operator can act on; no text of a request or an answer.

    Args:
        error: what the HTTP library raised, or what it was raised from.
    """
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is refused ({cause.verify_message}); SSL_CERT_FILE names the CA to trust"
            case ssl.SSLError():
                return f"no TLS there ({cause.reason or type(cause).__name__}): is it http, or another port?"
            case socket.gaierror():
                return f"its name does not resolve ({cause.strerror})"
            case ConnectionRefusedError():
                return "nothing listens there (connection refused)"
            case OSError() if cause.strerror:
                return cause.strerror.lower()
            case ValueError():
                return "something else answers there, whose answer is not of this service's form"
        cause = cause.__cause__ or cause.__context__
    return _SILENCES.get(type(error), type(error).__name__)
