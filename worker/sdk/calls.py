"""The calls of the SDK, over whichever keyring."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import Any, Literal, Unpack, overload

from worker.avro import open_schema
from worker.encryption import BatchDecryptor
from worker.encryption.anyform import AnyEnvelope, parse
from worker.errors import ConfigError, KeyAccessDenied, RecordError
from worker.interpreter import Unpicklable
from worker.model import DecryptionKeys
from worker.sdk import checked
from worker.sdk import records as whole
from worker.sdk import values as forms
from worker.sdk.keyring import KeyCall, Keyring
from worker.sdk.options import (
    DecryptOptions,
    EncryptOptions,
    Errors,
    Opening,
    Reading,
    RecordOptions,
    RecordsOptions,
    Sealing,
)
from worker.sdk.prepared import Open, Seal, is_plain, is_plain_text, opening, raised, sealing
from worker.sdk.reasons import Reasons
from worker.sdk.scope import Scope
from worker.sdk.sealing import ready, ready_singles
from worker.sdk.values import Described

Failure = RecordError | KeyAccessDenied
Source = Callable[[], AbstractContextManager[DecryptionKeys]]


class Calls(Unpicklable):
    """
    Encrypts and decrypts with one keyring; thread-safe.

    Args:
        keyring: where keys come from.
        reasons: what the audit is told.
    """

    def __init__(self, keyring: Keyring, reasons: Reasons) -> None:
        self._keyring, self._reasons = keyring, reasons
        self.is_closed = False

    def encrypt(self, value: object, *, field: str, **options: Unpack[EncryptOptions]) -> bytes:
        """Return one value's envelope; see `encrypt_many`. Calls made at the same time are answered together."""
        given = Sealing(**options)
        if not self._keyring.joins or not is_plain_text(value, given):
            return self.encrypt_many([value], field=field, **options)[0]
        seal = sealing(field, given)
        scope = self.scope("encrypt", seal, given.reason)

        def together(values: Sequence[str]) -> list[bytes]:
            return self._sealed(seal, values, given, self._keyring.call(scope, is_joined=True))

        only: bytes = self._keyring.calls.ask((scope, seal.spec), [value], together)[0]
        return only

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
            ConfigError: options that exclude each other, no reason where one is required, or this is closed.
            KeyAccessDenied: this identity may not.
            KeyServiceUnavailable: no answer; asking again is safe.

        Example:
            >>> envelopes = encryption.encrypt_many(["ann@x", "bob@x"], field="acme.crm.Customer/email")
            >>> encryption.decrypt_many(envelopes, field="acme.crm.Customer/email")
            ['ann@x', 'bob@x']
        """
        given, values = Sealing(**options), checked.several(values, "values", "encrypt")
        seal = sealing(field, given)
        return self._sealed(seal, values, given, self._call("encrypt", seal, given.reason))

    @staticmethod
    def _sealed(seal: Seal, values: Sequence[object], given: Sealing, call: KeyCall) -> list[bytes]:
        with call as keys:
            if not values:
                return []
            if given.format == "record":
                single = ready_singles(seal, values, given).singles()
                return [*chain.from_iterable(keys.take_ahead(seal.spec, len(values), single))]
            made = ready(seal, values, given)
            return made.leased(keys.lease(seal.spec, [len(plain) for plain in made.plain]))

    def decrypt(self, envelope: AnyEnvelope, *, field: str | None = None, **options: Unpack[DecryptOptions]) -> Any:
        """Return one envelope's value; see `decrypt_many`. Calls made at the same time are answered together."""
        given = Opening(**options)
        if not self._keyring.joins or not is_plain(envelope, field, given):
            return self.decrypt_many([envelope], field=field, **options)[0]
        scope = self.scope("decrypt", None, given.reason)
        if self._keyring.kept is not None and scope.is_kept:
            alone = opening([envelope], field, given)
            if not alone.requests or self._keyring.kept.find(scope, alone.requests):
                return raised(self._opened(alone, self._keyring.call(scope)), "raise")[0]

        def together(envelopes: Sequence[bytes]) -> list[Any]:
            return self._opened(opening(envelopes, field, given), self._keyring.call(scope, is_joined=True))

        place = (scope, field, given.schema)
        return raised(list(self._keyring.calls.ask(place, [envelope], together)), "raise")[0]

    def decrypt_described(self, envelope: AnyEnvelope, **options: Unpack[DecryptOptions]) -> Described:
        """Return a value found without a place, and the descriptor that its envelope carries."""
        return Described(self.decrypt(envelope, **options), parse(envelope).descriptor)

    def decrypt_many(
        self,
        envelopes: Sequence[AnyEnvelope],
        *,
        field: str | None = None,
        errors: Errors = "raise",
        **options: Unpack[DecryptOptions],
    ) -> list[Any]:
        """
        Decrypt envelopes of any format and form, asking for all their keys at once.

        Args:
            envelopes: n of bytes, text, or parsed JSON or EQL.
            field: the descriptor that they must carry. None takes what each carries: a value moved from another field
                then goes unnoticed.
            errors: `raise` the first value's, or `return` each in its value's place.
            options: `DecryptOptions`.

        Raises:
            DecryptionError: one was altered or moved, or is no envelope.
            KeyAccessDenied: its key is refused: the client is deleted or has no grant, the keyset is disabled, or
                (`ContextDenied`) the context is not the one it was sealed with.
            KeyServiceUnavailable: no answer; asking again is safe.
            ConfigError: as `encrypt_many`.

        Example:
            >>> envelope = encryption.encrypt(7, field="acme.crm.Customer/visits")
            >>> encryption.decrypt_many([envelope, b""], errors="return")[0]
            7
        """
        checked.errors(errors)
        opened = opening(envelopes, field, Opening(**options))
        return raised(self._opened(opened, self._call("decrypt", opened, opened.given.reason)), errors)

    @staticmethod
    def _opened(opened: Open, call: KeyCall) -> list[Any]:
        with call as keys:
            return opened.finished(keys) if opened.requests else opened.items

    def encrypt_record(
        self, record: Mapping[str, object], *, schema: str, key: bytes | None = None, reason: str | None = None
    ) -> bytes:
        """Return one record's datum under the output schema; see `encrypt_records`."""
        return self.encrypt_records([record], schema=schema, keys=[key], reason=reason)[0]

    def encrypt_records(
        self,
        records: Sequence[Mapping[str, object]],
        *,
        schema: str,
        keys: Sequence[bytes | None] | None = None,
        reason: str | None = None,
    ) -> list[bytes]:
        """
        Encrypt the declared fields of whole records, as the worker does.

        Args:
            records: n dicts, each with exactly the schema's fields.
            schema: the input schema with its declarations, JSON text.
            keys: the records' keys, needed where a field binds `$key`.
            reason: what the audit is told.

        Returns:
            n bare datums of `output_schema(schema)`.

        Raises:
            DeclarationError: the schema declares what can't be kept, or nothing.
            RecordError: a record is none of the schema; the message names the field.

        Example:
            >>> datum = encryption.encrypt_record({"id": 1, "email": "ann@x"}, schema=schema)
            >>> encryption.decrypt_record(datum, schema=output_schema(schema))
            {'id': 1, 'email': 'ann@x'}
        """
        compiled = whole.declared(schema)
        datums = [whole.datum(schema, record) for record in checked.several(records, "records", "encrypt_record")]
        given = checked.keys_of(keys, len(datums))
        with self._call("encrypt", None, reason) as call:
            return whole.sealed(compiled, datums, given, call) if datums else []

    def decrypt_record(
        self, datum: bytes, *, schema: str, key: bytes | None = None, **options: Unpack[RecordOptions]
    ) -> dict[str, object]:
        """Return one record's values; see `decrypt_records`."""
        return self.decrypt_records([datum], schema=schema, keys=[key], errors="raise", **options)[0]

    @overload
    def decrypt_records(
        self, datums: Sequence[bytes], *, schema: str, errors: Literal["return"], **options: Unpack[RecordsOptions]
    ) -> list[dict[str, object] | Failure]: ...
    @overload
    def decrypt_records(
        self,
        datums: Sequence[bytes],
        *,
        schema: str,
        errors: Literal["raise"] = "raise",
        **options: Unpack[RecordsOptions],
    ) -> list[dict[str, object]]: ...
    def decrypt_records(
        self,
        datums: Sequence[bytes],
        *,
        schema: str,
        errors: Literal["raise", "return"] = "raise",
        **options: Unpack[RecordsOptions],
    ) -> Any:
        """
        Decrypt whole records as the worker wrote them; every envelope must belong to its field.

        Args:
            datums: n Avro datums; bare ones, unless `framed` says that a schema registry's five bytes come first.
            schema: the output schema, JSON text.
            errors: `raise` the first record's, or `return` each in its record's place.
            options: `RecordsOptions`.

        Returns:
            The values of each record under its original schema, or why it did not open.

        Raises:
            DeclarationError: no field of the schema has `encryption`: what it reads is no output of a worker.
            DecryptionError, KeyAccessDenied: a record does not open, where `errors` is `raise`.
        """
        return self.restored(datums, schema, Reading(**options), errors)

    def restored(
        self, datums: Sequence[bytes], schema: str, given: Reading, errors: str, source: Source | None = None
    ) -> list[Any]:
        """Return the values of whole records, under keys from `source` where it is given (see `Regions`)."""
        checked.errors(errors)
        open_schema(str(checked.schema(schema))).refuse_clear(checked.names(given.clear, "clear"))
        several = checked.several(datums, "datums", "decrypt_record")
        out: list[Any] = raised(whole.bares(several, framed=given.framed), errors)
        at = [i for i, each in enumerate(out) if isinstance(each, bytes)]
        given_keys = checked.keys_of(given.keys, len(out))
        bare, keys = [out[i] for i in at], [given_keys[i] for i in at]
        with self.reading(given.reason) if source is None else source() as found:
            opened = forms.restore(bare, schema, keys, BatchDecryptor(found))
        for i, datum, result in zip(at, bare, opened, strict=True):
            out[i] = result if given.framed else whole.hinted(result, datum)
        return raised(out, errors)

    def restored_one(
        self, datum: bytes, schema: str, key: bytes | None, clear: Collection[str] = (), source: Source | None = None
    ) -> dict[str, object]:
        """Return one record's values; see `restored`."""
        found: dict[str, object] = self.restored([datum], schema, Reading(keys=[key], clear=clear), "raise", source)[0]
        return found

    def reading(self, reason: str | None, *, once: bool = False) -> KeyCall:
        """Return the keys of one call that decrypts; `once` says that its values are not read again."""
        return self._keyring.call(self.scope("decrypt", None, reason), once=once)

    def _call(self, purpose: Literal["encrypt", "decrypt"], work: Seal | Open | None, reason: str | None) -> KeyCall:
        return self._keyring.call(self.scope(purpose, work, reason))

    def close_keys(self) -> None:
        """Wipe the keys that are kept."""
        self._keyring.close()

    def expect_open(self) -> None:
        """Raise `ConfigError` once this is closed."""
        if self.is_closed:
            raise ConfigError(checked.CLOSED)

    def scope(self, purpose: Literal["encrypt", "decrypt"], work: Seal | Open | None, reason: str | None) -> Scope:
        """Return what a call shares keys and requests within; raises `ConfigError` where it may not be made."""
        self.expect_open()
        identity = self._keyring.identity
        chosen, is_required = self._reasons.choose(reason, identity)
        return Scope(purpose, chosen, () if work is None else work.lock, identity.subject, not is_required)
