"""The synchronous SDK."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, Self, Unpack
from uuid import UUID

from worker import environment
from worker.avro import is_reserved, open_schema
from worker.avro.descriptors import default_descriptor
from worker.encryption import BatchDecryptor, leased
from worker.encryption.anyform import AnyEnvelope, parse
from worker.encryption.ondemand import OnDemandKeys
from worker.errors import ConfigError, RecordError
from worker.model import Audit, DecryptionKeys, EncryptionKeys, KeyService, KeySpec
from worker.region import WorkspaceCrn
from worker.sdk import values as forms
from worker.sdk.opening import Asked, open_each
from worker.sdk.options import (
    Access,
    AccessOptions,
    DecryptManyOptions,
    DecryptOptions,
    EncryptOptions,
    Opening,
    Sealing,
)
from worker.sdk.sealing import seal_each, seal_leased
from worker.sdk.values import Described
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.credentials import AccessKey, Credentials, OidcToken
from worker.zerokms.derive import ClientKey
from worker.zerokms.factory import client_from_environment, local_hosts


class Encryption:
    """
    Encrypts and decrypts under one client of one region's workspace; thread-safe.

    For several regions keep several of these. Close it, or use it as a context manager.

    Args:
        workspace_crn: `crn:<region>.aws:<workspace>`.
        client_id: uuid of the client.
        client_key: our half of the key, hex or base64.
        reason: what the authority's audit is told, in the caller's words.
        access: `AccessOptions`: an `access_key` or an `oidc_token`, and other addresses than the region's own.

    Raises:
        ConfigError: a credential is malformed.
        RegionViolation: an address is not this region's.
    """

    def __init__(
        self,
        *,
        workspace_crn: str,
        client_id: str,
        client_key: str,
        reason: str | None = None,
        **access: Unpack[AccessOptions],
    ) -> None:
        given = Access(**access)
        identity = _identity(given.access_key, given.oidc_token)
        try:
            client = UUID(client_id)
        except ValueError:
            raise ConfigError("client_id is not a uuid") from None
        credentials = Credentials(WorkspaceCrn.parse(workspace_crn), client, ClientKey.parse(client_key), identity)
        service = ZeroKMSClient(
            credentials, cts=given.cts_host, zerokms=given.zerokms_host, allow_hosts=tuple(given.allow_hosts)
        )
        self._use(service, reason=reason, close=service.close)

    @classmethod
    def from_env(
        cls,
        prefix: str = "CS_",
        *,
        environ: Mapping[str, str] | None = None,
        allow_hosts: Sequence[str] = (),
        reason: str | None = None,
    ) -> Self:
        """
        Read the credentials from `<prefix>WORKSPACE_CRN`, `CLIENT_ID`, `CLIENT_KEY`, `CLIENT_ACCESS_KEY` and others.

        Hosts of this machine that the variables name need not stand in `allow_hosts`. Raises as the class does.
        """
        values = environment.with_prefix(os.environ if environ is None else environ, prefix)
        client = client_from_environment(values, allow_hosts=(*allow_hosts, *local_hosts(values)))
        return cls.over(client, reason=reason, close=client.close)

    @classmethod
    def over(
        cls,
        service: KeyService,
        *,
        encryption_keys: EncryptionKeys | None = None,
        decryption_keys: DecryptionKeys | None = None,
        reason: str | None = None,
        close: Callable[[], None] | None = None,
    ) -> Self:
        """Use a key service of one's own, or caches over it; by default each call asks for exactly its keys."""
        self = cls.__new__(cls)
        self._use(service, encryption_keys, decryption_keys, reason=reason, close=close)
        return self

    def _use(
        self,
        service: KeyService,
        encryption_keys: EncryptionKeys | None = None,
        decryption_keys: DecryptionKeys | None = None,
        *,
        reason: str | None,
        close: Callable[[], None] | None,
    ) -> None:
        self._service = service
        self._encryption_keys, self._decryption_keys = encryption_keys, decryption_keys
        self._reason = reason
        self._close = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Release connections; safe to call twice."""
        if self._close is not None:
            self._close()

    def encrypt(self, value: object, *, field: str, **options: Unpack[EncryptOptions]) -> bytes:
        """Return one value's envelope; see `encrypt_many`."""
        return self.encrypt_many([value], field=field, **options)[0]

    def encrypt_many(self, values: Sequence[object], *, field: str, **options: Unpack[EncryptOptions]) -> list[bytes]:
        """
        Encrypt values of one field, asking for all their keys at once.

        Args:
            values: n Python values, of the options' `schema` where that is given.
            field: the descriptor, 1-255 bytes: a field's identity as `acme.crm.Customer/email`.
            options: `EncryptOptions`.

        Returns:
            n envelopes: MessagePack or leased.

        Raises:
            RecordError: a value has no exact form.
            ConfigError: options that exclude each other.
        """
        field = default_descriptor(field)
        if not 1 <= len(field.encode()) <= leased.MAX_LABEL_BYTES:
            raise ConfigError("field takes 1-255 bytes of UTF-8")
        if is_reserved(field):
            raise ConfigError(f"the descriptor {field!r} is the worker's own (zk-canary, dead/, key/); name another")
        given = Sealing(**options)
        if given.policy and (given.format == "leased" or given.context or given.lock_context is not None):
            raise ConfigError("a policy is for the format `record`, and excludes a context")
        if given.bind and given.format == "record":
            raise ConfigError("bound values need the format `leased`")
        named = forms.texts(given.context)
        spec = KeySpec(given.keyset, field, forms.elements(named, given.lock_context), tuple(given.policy))
        if not values:
            return []
        with self._sealing() as source:
            if given.format == "record":
                return seal_each(source, spec, values, given.schema)
            return seal_leased(source, spec, values, given.schema, named, given.bind or {})

    def decrypt(self, envelope: AnyEnvelope, *, field: str | None = None, **options: Unpack[DecryptOptions]) -> Any:
        """Return one envelope's value; see `decrypt_many`."""
        return self.decrypt_many([envelope], field=field, **options)[0]

    def decrypt_described(self, envelope: AnyEnvelope, **options: Unpack[DecryptOptions]) -> Described:
        """Return a value found without a place, and the descriptor that its envelope carries."""
        return Described(self.decrypt(envelope, **options), parse(envelope).descriptor)

    def decrypt_many(
        self,
        envelopes: Sequence[AnyEnvelope],
        *,
        field: str | None = None,
        **options: Unpack[DecryptManyOptions],
    ) -> list[Any]:
        """
        Decrypt envelopes of any format and form, asking for all their keys at once.

        Args:
            envelopes: n of bytes, text, or parsed JSON or EQL.
            field: the descriptor that they must carry. None takes what each carries: a value moved from another field
                then goes unnoticed.
            options: `DecryptManyOptions`.

        Raises:
            DecryptionError: one does not open.
            KeyAccessDenied: this identity may not decrypt at all.
        """
        given = Opening(**options)
        named = forms.texts(given.context)
        elements = forms.elements(named, given.lock_context)
        descriptor = None if field is None else default_descriptor(field)
        with self._opening() as source:
            opened = open_each(source, envelopes, Asked(descriptor, given.schema, named, elements, given.bind or {}))
        if given.on_error == "raise":
            for item in opened:
                if isinstance(item, RecordError):
                    raise item
        return opened

    def decrypt_record(self, datum: bytes, *, schema: str, key: bytes | None = None) -> dict[str, object]:
        """Return one record's values; see `decrypt_records`."""
        (record_,) = self.decrypt_records([datum], schema=schema, keys=[key])
        if isinstance(record_, RecordError):
            raise record_
        return record_

    def decrypt_records(
        self,
        datums: Sequence[bytes],
        *,
        schema: str,
        keys: Sequence[bytes | None] | None = None,
        clear: Collection[str] = (),
    ) -> list[dict[str, object] | RecordError]:
        """
        Decrypt whole records as the worker wrote them; every envelope must belong to its field.

        Args:
            datums: n bare Avro datums, without a schema registry's frame.
            schema: the output schema, JSON text.
            keys: the records' keys, needed where a field binds `$key`.
            clear: names of records that may have nothing encrypted, as the route's `clear`.

        Returns:
            The values of each record under its original schema, or why it did not open.

        Raises:
            DeclarationError: no field of the schema has `encryption`: what it reads is no output of a worker.
        """
        open_schema(schema).refuse_clear(clear)
        with self._opening() as source:
            return forms.restore(datums, schema, [None] * len(datums) if keys is None else keys, BatchDecryptor(source))

    def _sealing(self) -> AbstractContextManager[EncryptionKeys]:
        if self._encryption_keys is not None:
            return nullcontext(self._encryption_keys)
        return OnDemandKeys(self._service, Audit("sdk", purpose="encrypt", reason=self._reason))

    def _opening(self) -> AbstractContextManager[DecryptionKeys]:
        if self._decryption_keys is not None:
            return nullcontext(self._decryption_keys)
        return OnDemandKeys(self._service, Audit("sdk", purpose="decrypt", reason=self._reason))


def _identity(access_key: str | None, oidc_token: Callable[[], str] | None) -> AccessKey | OidcToken:
    if access_key is not None and oidc_token is None:
        return AccessKey(access_key)
    if oidc_token is not None and access_key is None:
        return OidcToken(oidc_token)
    raise ConfigError("give an access_key or an oidc_token, and not both")
