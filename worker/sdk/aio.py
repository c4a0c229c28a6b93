"""The SDK for asynchronous programs: the same calls, each in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio.to_thread

from worker.encryption.anyform import AnyEnvelope
from worker.errors import RecordError
from worker.sdk.client import Encryption
from worker.sdk.values import Described

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
    def from_env(cls, prefix: str = "CS_", **options: Any) -> Self:
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

    async def encrypt(self, value: object, *, field: str, **options: Any) -> bytes:
        """See `Encryption.encrypt`."""
        return await _in_thread(self._encryption.encrypt, value, field=field, **options)

    async def encrypt_many(self, values: Sequence[object], *, field: str, **options: Any) -> list[bytes]:
        """See `Encryption.encrypt_many`."""
        return await _in_thread(self._encryption.encrypt_many, values, field=field, **options)

    async def decrypt(self, envelope: AnyEnvelope, **options: Any) -> Any:
        """See `Encryption.decrypt`."""
        return await _in_thread(self._encryption.decrypt, envelope, **options)

    async def decrypt_described(self, envelope: AnyEnvelope, **options: Any) -> Described:
        """See `Encryption.decrypt_described`."""
        return await _in_thread(self._encryption.decrypt_described, envelope, **options)

    async def decrypt_many(self, envelopes: Sequence[AnyEnvelope], **options: Any) -> list[Any]:
        """See `Encryption.decrypt_many`."""
        return await _in_thread(self._encryption.decrypt_many, envelopes, **options)

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


async def _in_thread(call: Callable[..., _T], *args: Any, **options: Any) -> _T:
    return await anyio.to_thread.run_sync(partial(call, *args, **options))
