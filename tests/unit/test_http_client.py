"""Credentials go where they are addressed: no proxy of the environment's, no redirect, https off this machine."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import weakref
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from tests.listening import Answer, Listening
from worker.authority.remote import Remote
from worker.avro import RegistrySchemas, registry_conf
from worker.cli.authority import app as authority
from worker.errors import ConfigError, WorkerError
from worker.http_client import open_async_client, open_client, require_https
from worker.zerokms.credentials import base_url, is_allowed
from worker.zerokms.factory import client_from_environment

WORKER = Path(__file__).resolve().parents[2] / "worker"
OIDC = {
    "bearer.auth.credentials.source": "OAUTHBEARER",
    "bearer.auth.client.id": "me",
    "bearer.auth.client.secret": "secret",
    "bearer.auth.scope": "all",
    "bearer.auth.logical.cluster": "lsrc-1",
}


class Listener(Listening):
    """Writes down what it was sent, and answers with what a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.reply = Answer(500, headers={})

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Answer:
        """Write a request down."""
        self.heard.append(f"{method} {path} {headers} {body!r}")
        return self.reply


@pytest.fixture
def listeners() -> Iterator[Callable[[], Listener]]:
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(Listener())


def key_service(url: str, env: dict[str, str]) -> object:
    here = {**env, "CS_CTS_HOST": url, "CS_ZEROKMS_HOST": url}
    with client_from_environment(here, allow_hosts=("127.0.0.1", "localhost")) as client:
        return client.load_keyset()


CALLERS: dict[str, Callable[[str, dict[str, str]], object]] = {
    "client": lambda url, _env: open_client(timeout_s=5).get(url),
    "admin": lambda url, _env: Remote(url, "CSAKx.secret")("list-clients"),
    "key service": key_service,
    "registry": lambda url, _env: RegistrySchemas(
        registry_conf(url, {}, {"basic.auth.user.info": "me:secret"}), auto_register=False
    ).check(),
    "registry's issuer": lambda url, _env: RegistrySchemas(
        registry_conf(url, OIDC, {"bearer.auth.issuer.endpoint.url": f"{url}/token"}), auto_register=False
    ).check(),
}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_no_caller_goes_through_a_proxy_of_the_environments(
    caller: str,
    variable: str,
    listeners: Callable[[], Listener],
    authority: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request and its credentials arrive where they were addressed, and nowhere else."""
    proxy, service = listeners(), listeners()
    monkeypatch.setenv(variable, proxy.url)

    with contextlib.suppress(WorkerError):
        CALLERS[caller](service.url, authority)

    assert proxy.heard == []
    assert service.heard != []


@pytest.mark.parametrize("caller", CALLERS)
def test_no_credential_follows_a_redirect(
    caller: str, listeners: Callable[[], Listener], authority: dict[str, str]
) -> None:
    """A service that points elsewhere is answered with an error, and elsewhere hears nothing."""
    elsewhere, service = listeners(), listeners()
    service.reply = Answer(307, headers={"location": elsewhere.url})

    with contextlib.suppress(WorkerError):
        CALLERS[caller](service.url, authority)

    assert elsewhere.heard == []
    assert service.heard != []


def test_a_proxy_that_is_named_is_used(listeners: Callable[[], Listener]) -> None:
    """Configured by name it is the operator's decision."""
    proxy, service = listeners(), listeners()

    with open_client(timeout_s=5, proxy=proxy.url) as client:
        client.get(service.url)

    assert len(proxy.heard) == 1
    assert service.heard == []


def test_an_answer_is_gone_once_nobody_holds_it(listeners: Callable[[], Listener]) -> None:
    """Key material does not wait in memory for a collection of cycles."""
    service = listeners()
    service.reply = Answer(200, b"material")
    gc.disable()
    try:
        with open_client(timeout_s=5) as client:
            answer = client.post(service.url, content=b"{}")
            held = weakref.ref(answer)
            assert answer.content == b"material"
            del answer
            assert held() is None
    finally:
        gc.enable()


def test_an_answer_in_an_event_loop_is_gone_once_nobody_holds_it(listeners: Callable[[], Listener]) -> None:
    """Likewise."""
    service = listeners()
    service.reply = Answer(200, b"material")

    async def ask() -> weakref.ref[httpx.Response]:
        async with open_async_client(timeout_s=5) as client:
            answer = await client.post(service.url, content=b"{}")
            assert answer.content == b"material"
            return weakref.ref(answer)

    gc.disable()
    try:
        assert asyncio.run(ask())() is None
    finally:
        gc.enable()


def test_an_admin_is_told_of_a_redirect(listeners: Callable[[], Listener]) -> None:
    """The message says what happened and what to name instead."""
    service = listeners()
    service.reply = Answer(301, headers={"location": "http://127.0.0.1:1/"})

    with pytest.raises(ConfigError, match=r"redirect \(301\)"):
        Remote(service.url, "CSAKx.secret")("list-clients")


@pytest.mark.parametrize("host", ["kms.example", "10.0.0.7", "[2001:db8::1]", "127.0.0.1.example", "localhost.example"])
def test_plain_http_is_for_this_machine(host: str) -> None:
    """Another machine is asked over https alone, listed or not, by every caller."""
    url = f"http://{host}:8080/"

    for call in (
        lambda: require_https(url, "it"),
        lambda: Remote(url, "CSAKx.secret"),
        lambda: base_url(url, what="it"),
        lambda: RegistrySchemas(registry_conf(url, {}, {"basic.auth.user.info": "me:secret"}), auto_register=False),
        lambda: RegistrySchemas(
            registry_conf("https://r.example", OIDC, {"bearer.auth.issuer.endpoint.url": url}), auto_register=False
        ),
    ):
        with pytest.raises(ConfigError, match="plain http"):
            call()
    assert not is_allowed(url, "https://own.example/", (f"{host}:8080", host.strip("[]")))


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://localhost:1/", "http://[::1]:1/", "https://kms.example/"]
)
def test_this_machine_and_https_are_taken(url: str) -> None:
    """Loopback needs no TLS."""
    require_https(url, "it")


def test_an_authority_names_no_plain_http_address(tmp_path: Path) -> None:
    """Its tokens would lead every worker's bearer there."""
    options = ["--region", "eu-central-1", "--data", str(tmp_path), "--public-url", "http://keys.example/"]

    result = CliRunner().invoke(authority, ["serve", *options])

    assert isinstance(result.exception, ConfigError)
    assert "--public-url" in str(result.exception)


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"url": "https://registry.us-east-1.internal"}, "set \\[schemas\\] registry"),
    ({"ssl.ca.location": False}, "can't be switched off"),
    ({"ssl.ca.location": "/nonexistent"}, "registry"),
]


@pytest.mark.parametrize(("properties", "words"), REFUSED)
def test_the_registry_that_is_pinned_is_the_one_that_is_asked(properties: dict[str, object], words: str) -> None:
    """No property puts another address or another trust in its place."""
    with pytest.raises(ConfigError, match=words):
        RegistrySchemas(registry_conf("https://registry.eu-central-1.internal", properties, {}), auto_register=False)


def test_a_registrys_address_holds_no_credential() -> None:
    """It would stand in findings and logs."""
    with pytest.raises(ConfigError, match="secrets") as caught:
        RegistrySchemas(registry_conf("https://me:secret@registry.internal", {}, {}), auto_register=False)

    assert "secret@" not in str(caught.value)


def test_every_client_is_made_in_one_place() -> None:
    """No module but the factory makes a client, or sends without one."""
    makers = [
        path.name
        for path in WORKER.rglob("*.py")
        if re.search(
            r"httpx\.(Async)?Client[()]|httpx\.(get|post|put|request|stream)\(|urllib\.request", path.read_text()
        )
    ]

    assert makers == ["http_client.py"]
