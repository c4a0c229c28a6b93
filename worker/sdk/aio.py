"""The asynchronous client of one region."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import anyio
import anyio.from_thread

from worker.encryption.anyform import AnyEnvelope, parse
from worker.model import Audit, DataKey, KeyRefused, KeySpec, RetrieveRequest
from worker.model.receipts import as_json
from worker.sdk.aio_keyring import AsyncKeyring
from worker.sdk.aio_tables import AsyncTableCalls, in_thread
from worker.sdk.calls import Failure
from worker.sdk.client import client_from_prefix, credentials_of
from worker.sdk.kept import KeptKeys
from worker.sdk.keyring import Keyring
from worker.sdk.options import (
    Access,
    AccessOptions,
    Behaviour,
    ClientOptions,
    DecryptOptions,
    EncryptOptions,
    EnvironmentOptions,
    Errors,
    Opening,
    Reading,
    RecordOptions,
    RecordsOptions,
    Sealing,
)
from worker.sdk.prepared import opening, raised, sealing
from worker.sdk.reasons import Reasons
from worker.sdk.scope import identity_of
from worker.sdk.sealing import ready, ready_singles
from worker.sdk.table_calls import TableCalls
from worker.sdk.terms import Terms
from worker.sdk.values import Described
from worker.zerokms.asynchronous import AsyncKeyService, AsyncZeroKMSClient
from worker.zerokms.client import ZeroKMSClient

_T = TypeVar("_T")


class AsyncEncryption(AsyncTableCalls):
    """
    `Encryption` under asyncio or trio; options, results and errors are the same.

    Requests go over an asynchronous connection pool, and single calls of many tasks share them. Calls of many values
    work in a thread, so that the loop goes on meanwhile. Several event loops may use it, one after the other
    or in threads of their own: each has connections of its own, and shares requests within itself.

    Args:
        workspace_crn, client_id, client_key, options: as `Encryption`.
    """

    region: str = ""
    """The workspace's region; empty over a key service of one's own."""

    def __init__(
        self, *, workspace_crn: str, client_id: str, client_key: str, **options: Unpack[AccessOptions]
    ) -> None:
        given = Access(**options)
        credentials = credentials_of(workspace_crn, client_id, client_key, given)
        client = ZeroKMSClient(
            credentials, cts=given.cts_host, zerokms=given.zerokms_host, allow_hosts=tuple(given.allow_hosts)
        )
        self._use(AsyncZeroKMSClient(client), given)
        self.region = str(credentials.workspace.region)

    @classmethod
    def from_env(cls, prefix: str = "CS_", **options: Unpack[EnvironmentOptions]) -> Self:
        """Read the credentials from the environment; see `Encryption.from_env`."""
        self = cls.__new__(cls)
        client, behaviour = client_from_prefix(prefix, options)
        self._use(AsyncZeroKMSClient(client), behaviour)
        self.region = str(client.credentials.workspace.region)
        return self

    @classmethod
    def over(cls, service: AsyncKeyService, **options: Unpack[ClientOptions]) -> Self:
        """Use a key service of one's own; it is closed together with this."""
        self = cls.__new__(cls)
        self._use(service, Behaviour(**options))
        return self

    def _use(self, service: AsyncKeyService, given: Behaviour) -> None:
        self._service = service
        self._kept = None if given.cache is None else KeptKeys(given.cache)
        self._reasons = Reasons(given.reason, is_required=given.require_reason)
        self._keyring = AsyncKeyring(service, kept=self._kept, window_s=given.window_s)
        client = service.client if isinstance(service, AsyncZeroKMSClient) else None
        self._receipts = None if client is None else client.receipts
        self._terms = Terms(client, max_age_s=0.0 if given.cache is None else given.cache.max_age_s)
        # Calls of many values work in a thread, which asks by itself where it can.
        asked = _Bridge(service) if client is None else client
        keyring = Keyring(asked, kept=self._kept, window_s=0, asks_ahead=client is not None)
        self._calls = TableCalls(keyring, self._reasons)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Wipe the keys that are kept and release connections; safe to call twice."""
        if self._calls.is_closed:
            return
        self._calls.is_closed = self._keyring.is_closed = True
        self._calls.close_keys()
        with anyio.CancelScope(shield=True):
            await self._service.close()

    def because(self, reason: str) -> AbstractContextManager[None]:
        """Give a reason to every call of this task within the block; see `Encryption.because`."""
        return self._reasons.because(reason)

    def audit_receipts(self) -> list[dict[str, str | int]]:
        """See `Encryption.audit_receipts`."""
        return [] if self._receipts is None else [as_json(receipt) for receipt in self._receipts.take()]

    async def encrypt(self, value: object, *, field: str, **options: Unpack[EncryptOptions]) -> bytes:
        """See `Encryption.encrypt`; calls of many tasks share requests."""
        given = Sealing(**options)
        seal = sealing(field, given)
        if given.format == "record":
            single = ready_singles(seal, [value], given).singles()
            async with self._keyring.call(self._calls.scope("encrypt", seal, given.reason)) as keys:
                return single(await keys.take(seal.spec, 1))[0]
        made = ready(seal, [value], given)
        async with self._keyring.call(self._calls.scope("encrypt", seal, given.reason)) as keys:
            return made.leased(await keys.lease(seal.spec, 1))[0]

    async def encrypt_many(
        self, values: Sequence[object], *, field: str, **options: Unpack[EncryptOptions]
    ) -> list[bytes]:
        """See `Encryption.encrypt_many`."""
        return await in_thread(self._calls.encrypt_many, values, field=field, **options)

    async def decrypt(
        self, envelope: AnyEnvelope, *, field: str | None = None, **options: Unpack[DecryptOptions]
    ) -> Any:
        """See `Encryption.decrypt`; calls of many tasks share requests."""
        opened = opening([envelope], field, Opening(**options))
        scope = self._calls.scope("decrypt", opened, opened.given.reason)
        raised(opened.items, "raise")
        async with self._keyring.call(scope) as keys:
            return raised(opened.finish(await keys.keys(opened.requests)), "raise")[0]

    async def decrypt_described(self, envelope: AnyEnvelope, **options: Unpack[DecryptOptions]) -> Described:
        """See `Encryption.decrypt_described`."""
        return Described(await self.decrypt(envelope, **options), parse(envelope).descriptor)

    async def decrypt_many(
        self,
        envelopes: Sequence[AnyEnvelope],
        *,
        field: str | None = None,
        errors: Errors = "raise",
        **options: Unpack[DecryptOptions],
    ) -> list[Any]:
        """See `Encryption.decrypt_many`."""
        return await in_thread(self._calls.decrypt_many, envelopes, field=field, errors=errors, **options)

    async def encrypt_record(
        self, record: Mapping[str, object], *, schema: str, key: bytes | None = None, reason: str | None = None
    ) -> bytes:
        """See `Encryption.encrypt_record`."""
        return await in_thread(self._calls.encrypt_record, record, schema=schema, key=key, reason=reason)

    async def encrypt_records(
        self,
        records: Sequence[Mapping[str, object]],
        *,
        schema: str,
        keys: Sequence[bytes | None] | None = None,
        reason: str | None = None,
    ) -> list[bytes]:
        """See `Encryption.encrypt_records`."""
        return await in_thread(self._calls.encrypt_records, records, schema=schema, keys=keys, reason=reason)

    async def decrypt_record(
        self, datum: bytes, *, schema: str, key: bytes | None = None, **options: Unpack[RecordOptions]
    ) -> dict[str, object]:
        """See `Encryption.decrypt_record`."""
        return await in_thread(lambda: self._calls.decrypt_record(datum, schema=schema, key=key, **options))

    @overload
    async def decrypt_records(
        self, datums: Sequence[bytes], *, schema: str, errors: Literal["return"], **options: Unpack[RecordsOptions]
    ) -> list[dict[str, object] | Failure]: ...
    @overload
    async def decrypt_records(
        self,
        datums: Sequence[bytes],
        *,
        schema: str,
        errors: Literal["raise"] = "raise",
        **options: Unpack[RecordsOptions],
    ) -> list[dict[str, object]]: ...
    async def decrypt_records(
        self,
        datums: Sequence[bytes],
        *,
        schema: str,
        errors: Literal["raise", "return"] = "raise",
        **options: Unpack[RecordsOptions],
    ) -> Any:
        """See `Encryption.decrypt_records`."""
        given = Reading(**options)
        return await in_thread(self._calls.restored, datums, schema, given, errors)


class _Bridge:
    """The asynchronous key service as a `KeyService`, for a thread that the event loop started."""

    def __init__(self, service: AsyncKeyService) -> None:
        self._service = service
        self.tokens = identity_of(service)()

    def generate(self, requests: Sequence[KeySpec], audit: Audit) -> Sequence[DataKey]:
        return _on_loop(self._service.generate, requests, audit)

    def retrieve(self, requests: Sequence[RetrieveRequest], audit: Audit) -> Sequence[DataKey | KeyRefused]:
        return _on_loop(self._service.retrieve, requests, audit)


def _on_loop(call: Callable[..., Coroutine[Any, Any, _T]], *args: Any) -> _T:
    return anyio.from_thread.run(partial(call, *args))
