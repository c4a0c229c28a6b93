"""Who we are to the key service, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import UUID

from worker.errors import ConfigError
from worker.http_client import is_loopback, require_https, url_parts, without_login
from worker.region import WorkspaceCrn
from worker.zerokms.derive import ClientKey


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A long-lived access key, `CSAK<id>.<secret>`."""

    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        key_id, _, secret = self.secret.removeprefix("CSAK").partition(".")
        if not self.secret.startswith("CSAK") or not key_id or not secret:
            raise ConfigError("the access key is not of the form CSAK<id>.<secret>")


@dataclass(frozen=True, slots=True)
class OidcToken:
    """An identity provider's token, asked for anew at every exchange."""

    supply: Callable[[], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    One client of one workspace.

    Args:
        workspace: the workspace and, with it, the region.
        client_id: the client that the authority's share belongs to.
        client_key: our half; never leaves this process.
        identity: what is exchanged for a service token.
    """

    workspace: WorkspaceCrn
    client_id: UUID
    client_key: ClientKey = field(repr=False)
    identity: AccessKey | OidcToken = field(repr=False)


def base_url(url: str, *, what: str) -> str:
    """
    Return a service's base URL with a trailing slash, so that a path prefix is kept.

    Raises:
        ConfigError: another scheme than http or https, user information, a query or a fragment; or plain http to
            anything but this machine.
    """
    parts = url_parts(url, what)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{what} {without_login(url)!r} is not an http or https URL")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(f"{what} must have no user, query or fragment")
    require_https(url, what)
    return url if url.endswith("/") else f"{url}/"


def host_of(url: str) -> str:
    """Return `host[:port]` of a URL."""
    return urlsplit(url).netloc


def is_allowed(url: str, own: str, allow_hosts: tuple[str, ...]) -> bool:
    """Whether a URL is the region's own or its host is listed, in both cases over https off this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.netloc == urlsplit(own).netloc:
        return True
    listed = parts.netloc in allow_hosts or (parts.hostname or "") in allow_hosts
    return listed and (parts.scheme == "https" or is_loopback(parts.hostname or ""))
