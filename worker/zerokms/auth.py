"""
Service tokens: exchanged at CTS, refreshed before they expire by one caller for all.

Source: protocol 3.
"""

from __future__ import annotations

import base64
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet as JwkSet

from worker.errors import KeyAccessDenied, KeyServiceThrottled, KeyServiceUnavailable, RegionViolation
from worker.http_client import silence
from worker.metrics import Metrics
from worker.zerokms.credentials import AccessKey, Credentials, is_allowed
from worker.zerokms.token import ServiceToken

REFRESH_BEFORE_S = 90.0
"""A token this close to its end is refreshed, by one caller, while the others go on with it."""
REFUSAL_S = 60.0
"""An account refusal (402) is remembered this long without asking again."""


class Trust(NamedTuple):
    """Hosts (`host:port`) that may stand in for the region's own, and whether signatures are checked by JWKS."""

    allow_hosts: tuple[str, ...] = ()
    verify: bool = True


_TRUST = Trust()


class TokenSource:
    """
    Hands out a valid service token; thread-safe.

    Args:
        credentials: what is exchanged.
        http: the connection pool to use.
        cts: CTS's base URL.
        trust: what a token may name, and how it is proved.
        metrics: where the expiry is exported.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        credentials: Credentials,
        http: httpx.Client,
        cts: str,
        *,
        trust: Trust = _TRUST,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._credentials, self._http, self._cts = credentials, http, cts
        self._allow_hosts, self._verify = trust
        self._metrics, self._clock = metrics, clock
        self._token: ServiceToken | None = None
        self._refusal: tuple[float, KeyAccessDenied] | None = None
        self._refreshing = threading.Lock()
        self._keys: JwkSet | None = None
        self._incarnation = 0

    def token(self) -> ServiceToken:
        """
        Return a token that is valid now.

        Raises:
            KeyServiceUnavailable: CTS does not answer; asking again is safe.
            KeyAccessDenied: CTS refuses the credential or the account.
            RegionViolation: the token names a ZeroKMS of another region, or another workspace.
        """
        held = self.held()
        if held is not None:
            return held
        token, now = self._token, self._clock()
        if token is not None and now < token.expires_at:
            if self._refreshing.acquire(blocking=False):
                try:
                    return self._refresh_or(token)
                finally:
                    self._refreshing.release()
            return token
        with self._refreshing:
            current = self._token
            if current is not None and current is not token and self._clock() < current.expires_at:
                return current
            return self._refresh()

    def held(self) -> ServiceToken | None:
        """Return the token that is at hand and not about to end; None where one has to be exchanged."""
        token = self._token
        return token if token is not None and self._clock() < token.expires_at - REFRESH_BEFORE_S else None

    @property
    def subject(self) -> str:
        """The subject of the token in use; empty where none has been exchanged yet."""
        return "" if self._token is None else self._token.subject

    @property
    def needs_reason(self) -> bool:
        """Whether the token in use says that its client gets no key without a reason (docs/contracts.md, 10)."""
        return self._token is not None and self._token.needs_reason

    @property
    def keys_per_request(self) -> int | None:
        """How many keys the authority takes at once, as far as the token in use says."""
        return None if self._token is None else self._token.keys_per_request

    def forget(self, token: ServiceToken) -> None:
        """Drop a token that the key service refused, unless it has been replaced already."""
        if self._token is token:
            self._token = None

    def _refresh_or(self, token: ServiceToken) -> ServiceToken:
        try:
            return self._refresh()
        except KeyServiceUnavailable:
            return token

    def _refresh(self) -> ServiceToken:
        now = self._clock()
        if self._refusal is not None and now < self._refusal[0]:
            raise self._refusal[1]
        token = self._exchange()
        self._token, self._refusal = token, None
        if self._metrics is not None:
            self._metrics.set("worker_token_expiry_timestamp_seconds", token.expiry, service="authority")
        return token

    def _exchange(self) -> ServiceToken:
        identity = self._credentials.identity
        body = (
            {"accessKey": identity.secret}
            if isinstance(identity, AccessKey)
            else {"oidcToken": identity.supply(), "workspaceId": self._credentials.workspace.workspace}
        )
        started, outcome = time.perf_counter(), "unreachable"
        try:
            reply = self._http.post(f"{self._cts}api/authorise", content=orjson.dumps(body), timeout=30.0)
            outcome = str(reply.status_code)
        except httpx.HTTPError as exc:
            raise KeyServiceUnavailable(
                f"CTS at {self._cts} (CS_CTS_HOST, else the region's) does not answer: {silence(exc)}"
            ) from exc
        finally:
            self._count(outcome, time.perf_counter() - started)
        self._raise_for(reply)
        return self._accept(reply)

    def _count(self, outcome: str, seconds: float) -> None:
        if self._metrics is not None:
            self._metrics.inc("worker_authority_requests_total", endpoint="authorise", outcome=outcome)
            self._metrics.observe("worker_authority_request_seconds", seconds, endpoint="authorise")

    def _raise_for(self, reply: httpx.Response) -> None:
        status = reply.status_code
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.PAYMENT_REQUIRED:
            refusal = KeyAccessDenied(f"CTS refuses the account: {_account_code(reply.content)}")
            self._refusal = (self._clock() + REFUSAL_S, refusal)
            raise refusal
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            away = KeyServiceThrottled if status == httpx.codes.TOO_MANY_REQUESTS else KeyServiceUnavailable
            raise away(f"CTS at {self._cts} answers {status}", retry_after_s=retry_after(reply))
        raise KeyAccessDenied(
            f"CTS at {self._cts} refuses the credential ({status}): CS_CLIENT_ACCESS_KEY is no access key of this "
            "authority, or was deleted; `worker access-key create` makes one"
        )

    def _accept(self, reply: httpx.Response) -> ServiceToken:
        try:
            body = orjson.loads(reply.content)
            text, expiry = str(body["accessToken"]), float(body["expiry"])
            claims = self._claims(text)
            workspace = str(claims["workspace"]).removeprefix("ws:")
            issuer, subject = str(claims["iss"]), str(claims["sub"])
            issued = float(claims.get("iat", time.time()))
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
            raise KeyServiceUnavailable(f"CTS at {self._cts} sent no usable token") from exc
        services = claims.get("services")
        zerokms = services.get("zerokms") if isinstance(services, dict) else None
        self._check_region(workspace, zerokms, claims.get("region"))
        # The public service has none; an authority that once had one goes on having it.
        if claims.get("incarnation") is not None or self._incarnation:
            self._check_incarnation(claims.get("incarnation"))
        lifetime = expiry - max(issued, 0.0)
        until = self._clock() + lifetime
        scopes, needs_reason = _scopes(claims.get("scope")), claims.get("reason_required") is True
        most = claims.get("keys_per_request")
        most = most if type(most) is int and most > 0 else None
        return ServiceToken(text, workspace, issuer, subject, zerokms, until, expiry, scopes, needs_reason, most)

    def _check_region(self, workspace: str, zerokms: object, region: object) -> None:
        own = self._credentials.workspace
        if workspace != own.workspace:
            raise RegionViolation(f"the service token is of workspace {workspace!r}, configured is {own.workspace!r}")
        # An authority of ours says where it is; the public service's hosts do.
        if isinstance(region, str) and region.removesuffix(".aws") != str(own.region):
            raise RegionViolation(
                f"the authority at {self._cts} is of region {region!r}, the workspace's CRN says {str(own.region)!r}; "
                "set CS_WORKSPACE_CRN as the authority gave it, or reach that region's own authority"
            )
        if zerokms is not None and not is_allowed(str(zerokms), own.region.zerokms_url, self._allow_hosts):
            expected = own.region.zerokms_url or "no host of its own"
            raise RegionViolation(
                f"the service token names the key service {zerokms!r}, region {own.region} has {expected!r}; another "
                "host is listed in allow_hosts, and https"
            )

    def _check_incarnation(self, incarnation: object) -> None:
        if not isinstance(incarnation, int) or incarnation < self._incarnation:
            raise RegionViolation(
                f"the authority at {self._cts} is of incarnation {incarnation}, and one of {self._incarnation} has "
                "answered: it was restored since, and this is the old one. Stop it, so that the name leads to the new"
            )
        self._incarnation = incarnation

    def _claims(self, text: str) -> dict[str, Any]:
        if not self._verify:
            payload = text.split(".")[1]
            claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            if not isinstance(claims, dict):
                raise ValueError("claims are no object")
            return claims
        # Keys that are held may be older than a rotation at CTS: then they are read once more.
        if self._keys is not None:
            with contextlib.suppress(JoseError, ValueError):
                return _verified(text, self._keys)
        try:
            return _verified(text, self._fetch_keys())
        except (JoseError, ValueError) as exc:
            raise KeyAccessDenied("the service token's signature does not verify") from exc

    def _fetch_keys(self) -> JwkSet:
        try:
            reply = self._http.get(f"{self._cts}.well-known/jwks.json", timeout=10.0)
            reply.raise_for_status()
            self._keys = JwkSet.import_key_set(orjson.loads(reply.content))
        except (httpx.HTTPError, orjson.JSONDecodeError, JoseError, KeyError) as exc:
            raise KeyServiceUnavailable(f"the token keys of {self._cts} can't be read: {silence(exc)}") from exc
        return self._keys


def _scopes(told: object) -> frozenset[str] | None:
    if isinstance(told, str):
        return frozenset([told])
    return frozenset(map(str, told)) if isinstance(told, list) else None


def _verified(text: str, keys: JwkSet) -> dict[str, Any]:
    return dict(jwt.decode(text, keys, algorithms=["RS256"]).claims)


def _account_code(body: bytes) -> str:
    """Return the reason of a 402: an empty body or one without a code is the usage limit (protocol 3.1)."""
    if not body:
        return "USAGE_LIMIT_EXCEEDED"
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "unknown reason"
    code = value.get("cs_code", "USAGE_LIMIT_EXCEEDED") if isinstance(value, dict) else "unknown reason"
    return code if code in ("USAGE_LIMIT_EXCEEDED", "ORG_NOT_PROVISIONED") else "unknown reason"


def retry_after(reply: httpx.Response) -> float | None:
    """Return the seconds of a `Retry-After` header, where it has a number."""
    value = reply.headers.get("retry-after", "")
    return min(float(value), 300.0) if value.isdigit() else None
