"""A client from the environment's variables (protocol 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from uuid import UUID

from worker import environment
from worker.errors import ConfigError
from worker.http_client import is_loopback, url_parts
from worker.metrics import Metrics
from worker.region import Region, WorkspaceCrn
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.credentials import AccessKey, Credentials, OidcToken
from worker.zerokms.derive import ClientKey
from worker.zerokms.options import ClientOptions

_T = TypeVar("_T")


def credentials_from_environment(environ: Mapping[str, str], *, crn: str | None = None) -> Credentials:
    """
    Read `CS_WORKSPACE_CRN` (or `CS_WORKSPACE_ID` and `CS_REGION`), `CS_CLIENT_ID`, `CS_CLIENT_KEY` and an identity.

    The identity is `CS_CLIENT_ACCESS_KEY`, or `CS_OIDC_TOKEN_FILE` whose file is read at every exchange. Each secret
    may come as `NAME_FILE`.

    Args:
        environ: the variables.
        crn: the workspace's name from a settings file, used where the environment names none.

    Raises:
        ConfigError: a variable is missing or malformed.
    """
    workspace = WorkspaceCrn.parse(_crn(environ, crn))
    client_id = environment.require(environ, "CS_CLIENT_ID", "the client's uuid")
    key = _parsed(environ, "CS_CLIENT_KEY", ClientKey.parse, "our half of the key")
    try:
        identity = UUID(client_id)
    except ValueError as exc:
        own = environment.named(environ, "CS_CLIENT_ID")
        raise ConfigError(f"{own} is not a uuid; `worker client create` wrote it beside the key") from exc
    return Credentials(workspace, identity, key, _identity(environ))


def client_from_environment(
    environ: Mapping[str, str],
    *,
    crn: str | None = None,
    allow_hosts: tuple[str, ...] = (),
    options: ClientOptions | None = None,
    metrics: Metrics | None = None,
) -> ZeroKMSClient:
    """
    Build a client; see `credentials_from_environment`.

    `CS_CTS_HOST` and `CS_ZEROKMS_HOST` name other hosts than the region's own; these must stand in `allow_hosts`.
    """
    cts = environment.text(environ, "CS_CTS_HOST") or None
    zerokms = environment.text(environ, "CS_ZEROKMS_HOST") or environment.text(environ, "CS_VITUR_HOST") or None
    return ZeroKMSClient(
        credentials_from_environment(environ, crn=crn),
        cts=cts,
        zerokms=zerokms,
        allow_hosts=allow_hosts,
        options=options,
        metrics=metrics,
    )


def local_hosts(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts of this machine that the variables name: an SDK user's own authority needs no list."""
    named = {n: environment.text(environ, n) for n in ("CS_CTS_HOST", "CS_ZEROKMS_HOST", "CS_VITUR_HOST")}
    urls = [url_parts(url, environment.named(environ, name)) for name, url in named.items()]
    return tuple(url.netloc for url in urls if is_loopback(url.hostname or ""))


def _crn(environ: Mapping[str, str], fallback: str | None) -> str:
    names = ("CS_WORKSPACE_CRN", "CS_WORKSPACE_ID", "CS_REGION")
    crn, workspace, region = (environment.text(environ, name) for name in names)
    if crn:
        return crn
    if workspace and region:
        return str(WorkspaceCrn(Region(region), workspace))
    if fallback:
        return fallback
    crn, workspace, region = (environment.named(environ, name) for name in names)
    raise ConfigError(f"{crn} is not set (or {workspace} and {region}, or [authority] workspace_crn)")


def _identity(environ: Mapping[str, str]) -> AccessKey | OidcToken:
    if environment.read(environ, "CS_CLIENT_ACCESS_KEY") is not None:
        return _parsed(environ, "CS_CLIENT_ACCESS_KEY", AccessKey, "an access key")
    if environ.get("CS_OIDC_TOKEN_FILE") or environ.get("CS_OIDC_TOKEN"):
        return OidcToken(lambda: environment.require(environ, "CS_OIDC_TOKEN", "the identity provider's token"))
    key, token = (environment.named(environ, f"CS_{n}") for n in ("CLIENT_ACCESS_KEY", "OIDC_TOKEN"))
    raise ConfigError(f"{key} is not set (or {token}, an identity provider's token, or {token}_FILE)")


def _parsed(environ: Mapping[str, str], name: str, parse: Callable[[str], _T], why: str) -> _T:
    text = environment.require(environ, name, why)
    try:
        return parse(text)
    except ConfigError as exc:
        raise ConfigError(f"{environment.named(environ, name)}: {exc}") from None
