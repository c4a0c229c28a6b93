"""The synchronous client of one region."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack
from uuid import UUID

from worker import environment
from worker.errors import ConfigError
from worker.model import KeyService
from worker.model.receipts import as_json
from worker.region import WorkspaceCrn
from worker.sdk import checked
from worker.sdk.kept import KeptKeys
from worker.sdk.keyring import Keyring
from worker.sdk.options import Access, AccessOptions, Behaviour, ClientOptions, EnvironmentOptions, refuse_unknown
from worker.sdk.reasons import Reasons
from worker.sdk.table_calls import TableCalls
from worker.sdk.terms import Index, Terms
from worker.textfile import read_text
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.credentials import AccessKey, Credentials, OidcToken
from worker.zerokms.derive import ClientKey
from worker.zerokms.exchange import Keyset
from worker.zerokms.factory import client_from_environment, local_hosts

_NEEDED = ("WORKSPACE_CRN", "CLIENT_ID", "CLIENT_KEY")
_IDENTITIES = ("CLIENT_ACCESS_KEY", "CLIENT_ACCESS_KEY_FILE", "OIDC_TOKEN", "OIDC_TOKEN_FILE")


class Encryption(TableCalls):
    """
    Encrypts and decrypts under one client of one region's workspace; thread-safe.

    For several regions see `Regions`. Close it, or use it as a context manager.

    Args:
        workspace_crn: `crn:<region>.aws:<workspace>`.
        client_id: uuid of the client.
        client_key: our half of the key, hex or base64.
        options: `AccessOptions`: an `access_key` or an `oidc_token`, the reason, what is kept, other addresses.

    Raises:
        ConfigError: a credential is malformed.
        RegionViolation: an address is not this region's.
    """

    region: str = ""
    """The workspace's region; empty over a key service of one's own."""

    def __init__(
        self, *, workspace_crn: str, client_id: str, client_key: str, **options: Unpack[AccessOptions]
    ) -> None:
        given = Access(**options)
        credentials = credentials_of(workspace_crn, client_id, client_key, given)
        service = ZeroKMSClient(
            credentials, cts=given.cts_host, zerokms=given.zerokms_host, allow_hosts=tuple(given.allow_hosts)
        )
        self._use(service, given, close=service.close)

    @classmethod
    def from_env(cls, prefix: str = "CS_", **options: Unpack[EnvironmentOptions]) -> Self:
        """
        Read the credentials from `<prefix>WORKSPACE_CRN`, `CLIENT_ID`, `CLIENT_KEY`, `CLIENT_ACCESS_KEY` and others.

        Hosts of this machine that the variables name need not stand in `allow_hosts`. Raises as the class does.
        """
        client, behaviour = client_from_prefix(prefix, options)
        self = cls.__new__(cls)
        self._use(client, behaviour, close=client.close)
        return self

    @classmethod
    def over(
        cls, service: KeyService, *, close: Callable[[], None] | None = None, **options: Unpack[ClientOptions]
    ) -> Self:
        """Use a key service of one's own."""
        self = cls.__new__(cls)
        self._use(service, Behaviour(**options), close=close)
        return self

    def _use(self, service: KeyService, given: Behaviour, *, close: Callable[[], None] | None) -> None:
        kept = None if given.cache is None else KeptKeys(given.cache)
        keyring = Keyring(service, kept=kept, window_s=given.window_s)
        super().__init__(keyring, Reasons(given.reason, is_required=given.require_reason))
        self._close = close
        self._terms = Terms(service, max_age_s=0.0 if given.cache is None else given.cache.max_age_s)
        self._receipts = service.receipts if isinstance(service, ZeroKMSClient) else None
        if isinstance(service, ZeroKMSClient):
            self.region = str(service.credentials.workspace.region)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Wipe the keys that are kept and release connections; safe to call twice."""
        if self.is_closed:
            return
        self.is_closed = True
        self.close_keys()
        if self._close is not None:
            self._close()

    def because(self, reason: str) -> AbstractContextManager[None]:
        """
        Give a reason to every call of this thread, or task, within the block.

        Example:
            >>> with encryption.because("ticket 4711"):
            ...     envelope = encryption.encrypt("ann@x", field="acme.crm.Customer/email")
        """
        return self._reasons.because(reason)

    def audit_receipts(self) -> list[dict[str, str | int]]:
        """
        Return where the authority's audit has the requests since the last call, to be kept where it can't write.

        Each has `chain`, `seq` and `hash`, and `request_id` where keys were asked for; as JSON Lines they are what
        `worker authority audit verify --against` takes. The newest 10,000 are held; an authority that keeps no audit,
        and a key service of one's own, give none.
        """
        return [] if self._receipts is None else [as_json(receipt) for receipt in self._receipts.take()]

    def query_term(
        self,
        field: str,
        value: object,
        *,
        index: Index = "unique",
        schema: str | None = None,
        keyset: str | None = None,
    ) -> str | list[int]:
        """
        Return the term to look for in a column's search index.

        Equal values of a keyset have equal terms in all of its columns: whoever reads the index, or the query, learns
        which rows are equal and how often, and for a match which share parts.

        Args:
            field: what is searched, as `customers/email`; named in errors alone, since a keyset's columns share terms.
            value: what is looked for.
            index: `unique` gives the column's `hm`, `match` the bits of its `bf`.
            schema: the field's Avro type, where it is no text, number, date or datetime.
            keyset: the field's keyset; None is the client's default.

        Raises:
            ConfigError: a boolean or an enum, of whose few values a term would say which it is.
            RecordError: the value has no term.
            KeyAccessDenied: the client may not use the keyset.
        """
        self.scope("decrypt", None, None)
        return self._terms.query(field, value, index=index, schema=schema, keyset=keyset)

    def keysets(self) -> list[Keyset]:
        """
        Return the workspace's keysets, as its authority lists them.

        Raises:
            KeyAccessDenied: the identity may not list them.
            KeyServiceUnavailable: no answer.
        """
        self.expect_open()
        return self._terms.keysets()


def credentials_of(workspace_crn: str, client_id: str, client_key: str, given: Access) -> Credentials:
    """Return credentials from what was passed; raises `ConfigError`."""
    checked.names(given.allow_hosts, "allow_hosts")
    identity = _identity(given)
    try:
        client = UUID(client_id)
    except (ValueError, AttributeError, TypeError):
        raise ConfigError("client_id is not a uuid") from None
    return Credentials(WorkspaceCrn.parse(workspace_crn), client, ClientKey.parse(client_key), identity)


def client_from_prefix(prefix: str, options: EnvironmentOptions) -> tuple[ZeroKMSClient, Behaviour]:
    """Return the client whose variables begin with a prefix, and how it is to behave; raises `ConfigError`."""
    refuse_unknown(options, EnvironmentOptions.__annotations__)
    environ = options.get("environ")
    environ = os.environ if environ is None else environ
    checked.text(prefix, "a prefix, as 'CS_EU_',")
    prefix = prefix if prefix.endswith("_") or not prefix else f"{prefix}_"
    _require_variables(environ, prefix)
    values = environment.with_prefix(environ, prefix)
    allow_hosts = (*checked.names(options.get("allow_hosts", ()), "allow_hosts"), *local_hosts(values))
    behaviour = Behaviour(**{k: v for k, v in options.items() if k not in ("environ", "allow_hosts")})  # type: ignore[arg-type]
    return client_from_environment(values, allow_hosts=allow_hosts), behaviour


def _require_variables(environ: Mapping[str, str], prefix: str) -> None:
    given = {name.removeprefix(prefix) for name in environ if name.startswith(prefix)}
    given |= {name.removesuffix("_FILE") for name in given}
    by_id = {"WORKSPACE_ID", "REGION"} <= given
    missing = [f"{prefix}{n}" for n in _NEEDED if n not in given and not (n == "WORKSPACE_CRN" and by_id)]
    if not given.intersection(_IDENTITIES):
        missing.append(f"{prefix}CLIENT_ACCESS_KEY (or {prefix}OIDC_TOKEN, {prefix}OIDC_TOKEN_FILE)")
    if not missing:
        return
    others = sorted(p for p in prefixes(environ) if p != prefix)
    hint = f"; credentials are there under {', '.join(others)}" if others and len(missing) > len(_NEEDED) else ""
    raise ConfigError(f"{', '.join(missing)} not set{hint}")


def prefixes(environ: Mapping[str, str]) -> list[str]:
    """Return the prefixes under which the environment names a workspace, as `CS_EU_`."""
    tail = "WORKSPACE_CRN"
    return [name.removesuffix(tail) for name in environ if name.startswith("CS_") and name.endswith(f"_{tail}")]


def _identity(given: Access) -> AccessKey | OidcToken:
    named = {"access_key": given.access_key, "oidc_token": given.oidc_token, "oidc_token_file": given.oidc_token_file}
    if sum(value is not None for value in named.values()) != 1:
        raise ConfigError(f"give one of {', '.join(named)}: as whom are keys asked for?")
    if given.access_key is not None:
        return AccessKey(given.access_key)
    if given.oidc_token is not None:
        return OidcToken(given.oidc_token)
    path = Path(str(given.oidc_token_file))
    return OidcToken(lambda: _token_of(path))


def _token_of(path: Path) -> str:
    return read_text(path, f"oidc_token_file {str(path)!r}").strip()
