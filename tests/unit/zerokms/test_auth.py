"""Service tokens: one exchange for all, refreshed ahead, verified, pinned to the region."""

from __future__ import annotations

import json
import threading
import time
from uuid import UUID

import httpx
import numpy as np
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet as JwkSet
from joserfc.jwk import RSAKey

from tests.fakes.keyservice import Clock
from worker.errors import ConfigError, KeyAccessDenied, KeyServiceUnavailable, RegionViolation
from worker.region import WorkspaceCrn
from worker.zerokms.auth import TokenSource
from worker.zerokms.credentials import AccessKey, Credentials, OidcToken
from worker.zerokms.derive import ClientKey

WORKSPACE = "ZVATKW3VHMFG27DY"
CTS = "https://cts.test/"
KEY = RSAKey.generate_key(2048, parameters={"kid": "one"}, private=True)
OTHER = RSAKey.generate_key(2048, parameters={"kid": "one"}, private=True)
ZEROKMS = "https://eu-central-1.aws.viturhosted.net/"


def client_key() -> ClientKey:
    p16, p33 = np.arange(16, dtype=np.uint8), np.arange(33, dtype=np.uint8)
    return ClientKey(p16, p16, p16, p33)


class Cts:
    """Answers as CTS does; a test turns its fields."""

    def __init__(self) -> None:
        self.exchanges: list[dict[str, str]] = []
        self.status, self.body = 200, b""
        self.claims: dict[str, object] = {}
        self.skew_s = 0.0
        self.signer = KEY
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("jwks.json"):
            return httpx.Response(200, json=JwkSet([KEY]).as_dict(private=False))
        self.exchanges.append(json.loads(request.content))
        self.gate.wait(5)
        if self.status != 200:
            return httpx.Response(self.status, content=self.body)
        now = time.time() + self.skew_s
        claims = {
            "workspace": WORKSPACE,
            "iss": CTS,
            "sub": "CS|CSAKx",
            "aud": "x",
            "iat": int(now),
            "exp": int(now) + 900,
            "services": {"zerokms": ZEROKMS},
        } | self.claims
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.signer)
        return httpx.Response(200, json={"accessToken": token, "expiry": claims["exp"]})


@pytest.mark.parametrize(
    ("told", "may"),
    [(None, True), ("data_key:retrieve", True), (["data_key:generate", "data_key:retrieve"], True), ([], False)],
)
def test_a_token_says_what_it_may(told: object, may: bool, cts: Cts, clock: Clock) -> None:
    """One scope is a word, several are a list; a token that says nothing is not judged."""
    cts.claims = {} if told is None else {"scope": told}

    assert source(cts, clock).token().may("data_key:retrieve") is may


@pytest.fixture
def cts() -> Cts:
    return Cts()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def source(cts: Cts, clock: Clock, identity: AccessKey | OidcToken | None = None) -> TokenSource:
    crn = WorkspaceCrn.parse(f"crn:eu-central-1.aws:{WORKSPACE}")
    credentials = Credentials(crn, UUID(int=1), client_key(), identity or AccessKey("CSAKx.y"))
    http = httpx.Client(transport=httpx.MockTransport(cts))
    return TokenSource(credentials, http, CTS, clock=clock)


def test_exchanges_once_while_the_token_lasts(cts: Cts, clock: Clock) -> None:
    """One exchange serves every call up to 90 s before the end; then one more."""
    tokens = source(cts, clock)

    first = tokens.token()
    clock.now += 800
    same = tokens.token()
    clock.now += 20
    tokens.token()

    assert same is first
    assert cts.exchanges == [{"accessKey": "CSAKx.y"}] * 2


def test_one_caller_refreshes_for_all(cts: Cts, clock: Clock) -> None:
    """While one caller refreshes a token that is still valid, the others go on with it."""
    tokens = source(cts, clock)
    first = tokens.token()
    clock.now += 850
    cts.gate.clear()
    refresher = threading.Thread(target=tokens.token)
    refresher.start()
    while len(cts.exchanges) < 2:
        pass

    during = tokens.token()
    cts.gate.set()
    refresher.join()

    assert during is first
    assert len(cts.exchanges) == 2
    assert tokens.token() is not first


def test_callers_without_a_token_share_one_exchange(cts: Cts, clock: Clock) -> None:
    """On a cold start many callers cost one exchange."""
    tokens = source(cts, clock)
    threads = [threading.Thread(target=tokens.token) for _ in range(8)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(cts.exchanges) == 1


def test_goes_on_with_a_valid_token_when_cts_is_away(cts: Cts, clock: Clock) -> None:
    """An outage during a refresh ahead of time does no harm until the token ends."""
    tokens = source(cts, clock)
    first = tokens.token()
    cts.status = 503
    clock.now += 850

    assert tokens.token() is first
    clock.now += 60
    with pytest.raises(KeyServiceUnavailable):
        tokens.token()


@pytest.mark.parametrize("skew_s", [-7200.0, 7200.0])
def test_tolerates_another_clock(cts: Cts, clock: Clock, skew_s: float) -> None:
    """A token lasts its lifetime, whatever the difference between the two clocks."""
    cts.skew_s = skew_s
    tokens = source(cts, clock)

    tokens.token()
    clock.now += 800
    tokens.token()

    assert len(cts.exchanges) == 1


@pytest.mark.parametrize("body", [b"", b'{"cs_code":"ORG_NOT_PROVISIONED"}'])
def test_remembers_an_account_refusal(cts: Cts, clock: Clock, body: bytes) -> None:
    """A 402 is replayed for 60 s without asking again."""
    cts.status, cts.body = 402, body
    tokens = source(cts, clock)

    for _ in range(3):
        with pytest.raises(KeyAccessDenied):
            tokens.token()
    clock.now += 60
    cts.status = 200
    tokens.token()

    assert len(cts.exchanges) == 2


@pytest.mark.parametrize(("status", "error"), [(401, KeyAccessDenied), (429, KeyServiceUnavailable)])
def test_tells_a_refusal_from_an_outage(cts: Cts, clock: Clock, status: int, error: type[Exception]) -> None:
    """A refused credential stops, a busy CTS pauses."""
    cts.status = status

    with pytest.raises(error):
        source(cts, clock).token()


def test_refuses_a_forged_token(cts: Cts, clock: Clock) -> None:
    """A token that another key signed is refused."""
    cts.signer = OTHER

    with pytest.raises(KeyAccessDenied):
        source(cts, clock).token()


@pytest.mark.parametrize(
    "claims",
    [
        {"services": {"zerokms": "https://ap-southeast-2.aws.viturhosted.net/"}},
        {"services": {"zerokms": "http://eu-central-1.aws.viturhosted.net/"}},
        {"services": {"zerokms": "https://eu-central-1.aws.viturhosted.net.evil.test/"}},
        {"workspace": "AAAAAAAAAAAAAAAA"},
        {"region": "ap-southeast-2"},
        {"region": ""},
    ],
)
def test_refuses_a_token_of_another_region_or_workspace(cts: Cts, clock: Clock, claims: dict[str, object]) -> None:
    """A token that names another region's key service, or another workspace, stops the worker."""
    cts.claims = claims

    with pytest.raises(RegionViolation):
        source(cts, clock).token()


def test_an_authority_of_another_region_is_named_with_the_crns(cts: Cts, clock: Clock) -> None:
    """Where its host is listed, only its own word tells that the CRN's region is a slip."""
    cts.claims = {"region": "ap-southeast-2"}

    with pytest.raises(
        RegionViolation, match=r"of region 'ap-southeast-2', .* says 'eu-central-1'; set CS_WORKSPACE_CRN"
    ):
        source(cts, clock).token()


@pytest.mark.parametrize("region", ["eu-central-1", "eu-central-1.aws", None])
def test_a_token_may_name_its_region_or_none(cts: Cts, clock: Clock, region: str | None) -> None:
    """The public service's names it nowhere."""
    cts.claims = {"region": region}

    assert source(cts, clock).token().workspace == WORKSPACE


@pytest.mark.parametrize("later", [1, None, "2", True])
def test_an_authority_from_before_a_restore_is_refused(cts: Cts, clock: Clock, later: object) -> None:
    """Once an incarnation was seen none answers that is less, and none that says nothing of it."""
    cts.claims = {"incarnation": 2}
    tokens = source(cts, clock)
    tokens.forget(tokens.token())
    cts.claims = {} if later is None else {"incarnation": later}

    with pytest.raises(RegionViolation, match="incarnation"):
        tokens.token()


def test_exchanges_an_identity_providers_token(cts: Cts, clock: Clock) -> None:
    """An OIDC token is asked for anew at each exchange and sent with the workspace."""
    supplied = iter(["jwt-1", "jwt-2"])
    tokens = source(cts, clock, OidcToken(lambda: next(supplied)))

    tokens.forget(tokens.token())
    tokens.token()

    assert [e["oidcToken"] for e in cts.exchanges] == ["jwt-1", "jwt-2"]
    assert cts.exchanges[0]["workspaceId"] == WORKSPACE


@pytest.mark.parametrize("text", ["", "CSAK", "CSAKx", "CSAKx.", "CSAK.y", "x.y"])
def test_refuses_a_malformed_access_key(text: str) -> None:
    """An access key is CSAK, an id, a dot and a secret."""
    with pytest.raises(ConfigError):
        AccessKey(text)


def test_shows_no_secret(cts: Cts, clock: Clock) -> None:
    """Neither credentials nor tokens show their secret."""
    tokens = source(cts, clock)
    token = tokens.token()

    shown = repr((token, tokens._credentials))

    assert token.text not in shown
    assert "CSAKx.y" not in shown
