"""How each address is reached: its name, its port, its certificate; and whether clock and versions are right."""

from __future__ import annotations

import platform
import shutil
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from cryptography import x509

from worker import environment, native
from worker.assembly.graph import Graph
from worker.errors import WorkerError
from worker.finding import Finding
from worker.http_client import open_client
from worker.kafka.clients import library_version
from worker.kafka.topics import Topics
from worker.sink.postgres.errors import address
from worker.version import __version__

_WAIT_S = 5.0
_DAYS, _CLOCK_S, _FREE_BYTES = 14, 30, 256 * 2**20


@dataclass(frozen=True, slots=True)
class Address:
    """One host and port, what it is of, which setting or variable names it, and whether it speaks TLS at once."""

    of: str
    host: str
    port: int
    named_by: str
    tls: bool = False


def addresses(graph: Graph) -> Iterator[Address]:
    """Yield every address that the settings and the environment name."""
    settings, environ = graph.settings, graph.context.environ
    secure = _is_secure(graph)
    for place in settings.kafka.bootstrap.split(","):
        host, _, port = place.strip().rpartition(":")
        if port.isdigit():
            yield Address("kafka", host.strip("[]"), int(port), "[kafka] bootstrap", secure)
    for url in filter(None, (settings.schemas.registry or "").split(",")):
        yield from _of_url("registry", url.strip(), "[schemas] registry")
    region, named = graph.region, settings.authority
    cts = environment.text(environ, "CS_CTS_HOST") or named.cts_host or region.cts_url
    zerokms = environment.text(environ, "CS_ZEROKMS_HOST") or named.zerokms_host or region.zerokms_url
    yield from _of_url("cts", cts, "CS_CTS_HOST, [authority] cts_host, or the region")
    yield from _of_url("zerokms", zerokms, "CS_ZEROKMS_HOST, [authority] zerokms_host, or the region")
    for route in settings.routes:
        if route.sink.dsn_env is not None:
            dsn = environment.read(environ, route.sink.dsn_env)
            place_of = address(dsn) if dsn else None
            if place_of is not None:
                yield Address("database", *place_of, route.sink.dsn_env)


def _is_secure(graph: Graph) -> bool:
    return "SSL" in str(graph.settings.kafka.properties.get("security.protocol", "")).upper()


def _of_url(of: str, url: str, named_by: str) -> Iterator[Address]:
    parts = urlsplit(url)
    if parts.hostname:
        secure = parts.scheme == "https"
        yield Address(of, parts.hostname, parts.port or (443 if secure else 80), named_by, secure)


def reach(graph: Graph) -> list[Finding]:
    """Look at versions, disk, clock, and at each address by itself."""
    findings = [_versions(), _disk(), *_clock(graph)]
    named = dict.fromkeys(addresses(graph))
    for place in named:
        findings += _reached(place)
    known = {(place.host, place.port) for place in named}
    for place in _advertised(graph):
        # A client that found the cluster goes on to these, which may be names of another network.
        if (place.host, place.port) not in known:
            findings += _reached(place)
    return findings


def _advertised(graph: Graph) -> list[Address]:
    """Return where the brokers say that they are; nothing where they say nothing."""
    secure = _is_secure(graph)
    try:
        told = Topics(graph.connection, name="doctor", timeout_s=_WAIT_S).brokers()
    except WorkerError:
        return []
    return [Address("broker", host, port, "the broker's advertised.listeners", secure) for host, port in told]


def _versions() -> Finding:
    said = f"worker {__version__}, Python {platform.python_version()}, librdkafka {library_version()}"
    if native.IS_LOADED:
        return Finding("versions", "ok", found=f"{said}, native module loaded")
    remedy = "install the wheel with the native module; without it encryption runs at about a tenth of the rate"
    return Finding("versions", "warning", found=f"{said}, no native module", remedy=remedy)


def _disk() -> Finding:
    directory = tempfile.gettempdir()
    free = shutil.disk_usage(directory).free
    said = f"{free / 2**20:,.0f} MiB free in {directory}"
    if free >= _FREE_BYTES:
        return Finding("disk", "ok", found=said)
    return Finding(
        "disk", "warning", found=said, remedy="--processes shares its metrics there; free some, or set TMPDIR"
    )


def _reached(place: Address) -> list[Finding]:
    name = f"{place.of} {place.host}:{place.port}"
    try:
        found = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        remedy = f"the name does not resolve; correct {place.named_by}, or see this machine's DNS (/etc/resolv.conf)"
        return [Finding(f"{name}: name", "unreachable", remedy=remedy)]
    names = ", ".join(sorted({str(item[4][0]) for item in found}))
    findings = [Finding(f"{name}: name", "ok", found=names)]
    started = time.monotonic()
    try:
        with socket.create_connection((place.host, place.port), timeout=_WAIT_S) as connection:
            findings.append(Finding(f"{name}: port", "ok", found=f"{(time.monotonic() - started) * 1000:.0f} ms"))
            if place.tls:
                findings.append(_certificate(name, place, connection))
    except TimeoutError:
        remedy = f"no answer within {_WAIT_S:g} s: a firewall or a network policy in between, or the host is down"
        findings.append(Finding(f"{name}: port", "unreachable", remedy=remedy))
    except OSError as exc:
        remedy = f"{exc.strerror or type(exc).__name__}: nothing listens there; start it, or correct {place.named_by}"
        findings.append(Finding(f"{name}: port", "unreachable", remedy=remedy))
    return findings


def _certificate(name: str, place: Address, connection: socket.socket) -> Finding:
    """Read the certificate; whether it is trusted is for who speaks to it, with its own CA, to say."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with context.wrap_socket(connection, server_hostname=place.host) as secured:
            der = secured.getpeercert(binary_form=True) or b""
            version = secured.version()
        end = x509.load_der_x509_certificate(der).not_valid_after_utc
    except (OSError, ValueError) as exc:
        remedy = f"no TLS there ({type(exc).__name__}); is it the port that speaks TLS? see {place.named_by}"
        return Finding(f"{name}: certificate", "warning", remedy=remedy)
    days = (end.timestamp() - time.time()) / 86_400
    said = f"{version}, until {end:%Y-%m-%d}"
    if days > _DAYS:
        return Finding(f"{name}: certificate", "ok", found=said)
    what = "has expired" if days < 0 else f"expires in {days:.0f} days"
    return Finding(f"{name}: certificate", "warning", found=said, remedy=f"it {what}; renew it at {place.host}")


def _clock(graph: Graph) -> list[Finding]:
    """Compare this machine's clock with the authority's: a token's life is counted by it."""
    told = _date_of(graph)
    if told is None:
        return []
    apart = abs(time.time() - told)
    said = f"{apart:.0f} s from the authority's"
    if apart <= _CLOCK_S:
        return [Finding("clock", "ok", found=said)]
    remedy = "set the clocks by NTP; tokens and OAUTHBEARER count by them, and timestamps would lie"
    return [Finding("clock", "warning", found=said, remedy=remedy)]


def _date_of(graph: Graph) -> float | None:
    try:
        cts = graph.authority.cts
    except WorkerError:
        return None
    header = _quietly(lambda: _get(f"{cts}.well-known/jwks.json").get("date"))
    return None if header is None else parsedate_to_datetime(header).timestamp()


def _get(url: str) -> Mapping[str, str]:
    with open_client(timeout_s=_WAIT_S) as client:
        return client.get(url).headers


def _quietly(ask: Callable[[], str | None]) -> str | None:
    """Return nothing where nobody answers: that is another finding's to say."""
    try:
        return ask()
    except Exception as exc:
        if type(exc).__module__.startswith(("httpx", "httpcore")):
            return None
        raise


def token(graph: Graph) -> list[Finding]:
    """Say what the service token is good for, where there is one."""
    try:
        found = graph.authority.tokens.token()
    except WorkerError:
        return []
    scopes = ", ".join(sorted(found.scopes)) if found.scopes is not None else "not said"
    left = (found.expiry - time.time()) / 60
    return [Finding("token", "ok", found=f"subject {found.subject}, scopes {scopes}, {left:.0f} minutes left")]
