"""The SDK for asynchronous programs: the same calls, each in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, Unpack

import anyio.to_thread

from worker.encryption.anyform import AnyEnvelope
from worker.errors import RecordError
from worker.sdk.client import Encryption
from worker.sdk.options import DecryptManyOptions, DecryptOptions, EncryptOptions, EnvironmentOptions
from worker.sdk.values import Described

_P = ParamSpec("_P")
_T = TypeVar("_T")


class AsyncEncryption:
    """
    `Encryption` under asyncio or trio; arguments, results and errors are the same.

    Args:
        encryption: what does the work; closed together with this.
    """

    def __init__(self, encryption: Encryption) -> None:
        self._encryption = encryption

    @classmethod
    def from_env(cls, prefix: str = "CS_", **options: Unpack[EnvironmentOptions]) -> Self:
        """Read the credentials from the environment; see `Encryption.from_env`."""
        return cls(Encryption.from_env(prefix, **options))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Release connections."""
        await _in_thread(self._encryption.close)

    async def encrypt(self, value: object, *, field: str, **options: Unpack[EncryptOptions]) -> bytes:
        """See `Encryption.encrypt`."""
        return await _in_thread(self._encryption.encrypt, value, field=field, **options)

    async def encrypt_many(
        self, values: Sequence[object], *, field: str, **options: Unpack[EncryptOptions]
    ) -> list[bytes]:
        """See `Encryption.encrypt_many`."""
        return await _in_thread(self._encryption.encrypt_many, values, field=field, **options)

    async def decrypt(
        self, envelope: AnyEnvelope, *, field: str | None = None, **options: Unpack[DecryptOptions]
    ) -> Any:
        """See `Encryption.decrypt`."""
        return await _in_thread(self._encryption.decrypt, envelope, field=field, **options)

    async def decrypt_described(self, envelope: AnyEnvelope, **options: Unpack[DecryptOptions]) -> Described:
        """See `Encryption.decrypt_described`."""
        return await _in_thread(self._encryption.decrypt_described, envelope, **options)

    async def decrypt_many(
        self, envelopes: Sequence[AnyEnvelope], *, field: str | None = None, **options: Unpack[DecryptManyOptions]
    ) -> list[Any]:
        """See `Encryption.decrypt_many`."""
        return await _in_thread(self._encryption.decrypt_many, envelopes, field=field, **options)

    async def decrypt_record(self, datum: bytes, *, schema: str, key: bytes | None = None) -> dict[str, object]:
        """See `Encryption.decrypt_record`."""
        return await _in_thread(self._encryption.decrypt_record, datum, schema=schema, key=key)

    async def decrypt_records(
        self,
        datums: Sequence[bytes],
        *,
        schema: str,
        keys: Sequence[bytes | None] | None = None,
        clear: Collection[str] = (),
    ) -> list[dict[str, object] | RecordError]:
        """See `Encryption.decrypt_records`."""
        return await _in_thread(self._encryption.decrypt_records, datums, schema=schema, keys=keys, clear=clear)


async def _in_thread(call: Callable[_P, _T], *args: _P.args, **options: _P.kwargs) -> _T:
    return await anyio.to_thread.run_sync(partial(call, *args, **options))
