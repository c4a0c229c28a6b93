"""Columns of envelopes back to columns of values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag

from worker.encryption import leased, record
from worker.encryption.leased import LeasedEnvelope
from worker.encryption.plaintext import Codec, from_typed
from worker.encryption.record import EncryptedRecord
from worker.encryption.refusal import key_denied, not_an_envelope
from worker.encryption.unspans import Opened, open_spans, placed
from worker.errors import ConfigError, DecryptionError, KeyAccessDenied, RecordError
from worker.model import (
    ContextElement,
    DataKey,
    DecryptionKeys,
    FieldPlan,
    KeyRefused,
    RetrieveRequest,
    Split,
    Value,
    ValueColumn,
)
from worker.native.split import SpanSplit

Texts = tuple[str, ...]


@dataclass(slots=True)
class Decrypted:
    """
    Values aligned with the columns, None where one did not open.

    `errors` by the record's index in the batch; `denied` are those of them that are the key service's refusal.
    """

    values: list[list[bytes | None]] = field(repr=False)
    errors: dict[int, RecordError]
    denied: dict[int, KeyAccessDenied] = field(default_factory=dict)


class BatchDecryptor:
    """
    Opens all envelopes of a batch; a bad one costs its own record only.

    An envelope must be of its field's format and carry its field's descriptor, else it was moved. The keyset is not
    compared: grants decide that.

    Args:
        keys: where data keys come from.
    """

    def __init__(self, keys: DecryptionKeys) -> None:
        self._keys = keys

    def open(self, split: Split, prefix: bytes = b"") -> Opened:
        """
        Open all envelopes of a split and put its records together, each behind `prefix`.

        Raises as `decrypt`.
        """
        if isinstance(split, SpanSplit):
            return open_spans(split, self._keys, prefix, lambda rest: self._open_plain(rest, prefix))
        return self._open_plain(split, prefix)

    def _open_plain(self, split: Split, prefix: bytes) -> Opened:
        opened = self.decrypt(split.columns)
        errors = {**opened.errors, **split.errors}
        columns = [[b"" if value is None else value for value in column] for column in opened.values]
        restored = split.join(columns, prefix)
        data = [None if i in errors else datum for i, datum in enumerate(restored)]
        return Opened(data, errors, opened.denied)

    def decrypt(self, columns: Sequence[ValueColumn]) -> Decrypted:
        """
        Return each value's Avro binary.

        Raises:
            KeyServiceUnavailable: no keys now.
            KeyAccessDenied: this identity may not decrypt at all.
        """
        requests: list[RetrieveRequest] = []
        readers = [_ColumnReader(column, requests) for column in columns]
        keys = self._keys.keys(requests) if requests else []
        found = Decrypted([], {})
        found.values += [reader.open(keys, found) for reader in readers]
        return found


@dataclass(frozen=True, slots=True)
class _Lease:
    """What all values under one header and context share."""

    request: int
    end: int
    shared: bytes


class _ColumnReader:
    """Reads one column: first which keys it needs, then, with these, its values."""

    def __init__(self, column: ValueColumn, requests: list[RetrieveRequest]) -> None:
        plan = column.plan
        if (plan.context and column.contexts is None) or (plan.bind and column.binds is None):
            raise ConfigError(f"{plan.identity}: the plan names a context or bound values and the column has none")
        self._column = column
        self._requests = requests
        self._leases: dict[tuple[bytes, Texts], _Lease] = {}
        self._parsed: list[_Lease | tuple[EncryptedRecord, int] | DecryptionError] = []
        parse = self._parse_record if plan.format == "record" else self._parse_leased
        contexts = [()] * len(column.values) if column.contexts is None else column.contexts
        for data, texts in zip(column.values, contexts, strict=True):
            try:
                self._parsed.append(parse(data, texts))
            except DecryptionError as exc:
                self._parsed.append(exc)

    def _parse_leased(self, data: bytes, texts: Texts) -> _Lease:
        end = leased.header_end(data)
        at = (data[:end], texts)
        lease = self._leases.get(at)
        if lease is None:
            lease = self._leases[at] = self._new_lease(LeasedEnvelope.parse(data), at)
        return lease

    def _new_lease(self, envelope: LeasedEnvelope, at: tuple[bytes, Texts]) -> _Lease:
        plan = self._column.plan
        expect_descriptor(plan.descriptor, envelope.descriptor)
        if envelope.fingerprint != plan.fingerprint:
            raise DecryptionError("the value was sealed as another type than its field has")
        head, texts = at
        named = tuple(zip(plan.context, texts, strict=True))
        request = self._ask(envelope.request(_elements(plan, texts)))
        return _Lease(request, len(head), head + leased.framed_context(named))

    def _parse_record(self, data: bytes, texts: Texts) -> tuple[EncryptedRecord, int]:
        plan = self._column.plan
        if data[:1] not in (b"\x95", b"\x96"):
            raise not_an_envelope("it does not begin as an encrypted record")
        envelope = record.from_msgpack(data)
        expect_descriptor(plan.descriptor, envelope.descriptor)
        return envelope, self._ask(envelope.request(_elements(plan, texts)))

    def _ask(self, request: RetrieveRequest) -> int:
        self._requests.append(request)
        return len(self._requests) - 1

    def open(self, keys: Sequence[DataKey | KeyRefused], found: Decrypted) -> list[bytes | None]:
        """Open every value; a failure is noted under the value's record, the first one of a record stays."""
        column = self._column
        decode = from_typed(column.plan)
        frame = leased.framer(column.plan.bind)
        binds = [()] * len(column.values) if column.binds is None else column.binds
        out: list[bytes | None] = []
        unbound = None if column.plan.bind else frame(())
        for data, bound, parsed, index in zip(column.values, binds, self._parsed, column.records, strict=True):
            try:
                if isinstance(parsed, _Lease):
                    value = _open_leased(granted(keys[parsed.request]), parsed, data, unbound or frame(bound))
                elif isinstance(parsed, DecryptionError):
                    raise parsed
                else:
                    value = _open_record(granted(keys[parsed[1]]), parsed[0], decode)
            except (DecryptionError, KeyAccessDenied) as exc:
                if isinstance(exc, KeyAccessDenied) and index not in found.errors:
                    found.denied[index] = type(exc)(f"{column.plan.identity}: {exc}")
                found.errors.setdefault(index, placed(exc, column.plan))
                out.append(None)
            else:
                out.append(value)
        return out


def expect_descriptor(expected: str, found: str) -> None:
    """Raise `DecryptionError` unless an envelope carries the descriptor of the place it was found at."""
    if found != expected:
        raise DecryptionError("the envelope belongs to another field: it was moved, or the field renamed")


def granted(key: DataKey | KeyRefused) -> DataKey:
    """Return the key, or raise `KeyAccessDenied` with the service's reason, `DecryptionError` for a moved envelope."""
    if isinstance(key, KeyRefused):
        raise key_denied(key)
    return key


def _open_leased(key: DataKey, lease: _Lease, data: bytes, bound: bytes) -> bytes:
    nonce_end = lease.end + leased.NONCE_BYTES
    try:
        return leased.cipher(key).decrypt(data[lease.end : nonce_end], data[nonce_end:], lease.shared + bound)
    except InvalidTag:
        raise leased.does_not_open() from None


def _open_record(key: DataKey, envelope: EncryptedRecord, decode: Codec) -> bytes:
    return decode(record.open_record(key, envelope))


def _elements(plan: FieldPlan, texts: Texts) -> tuple[ContextElement, ...]:
    return tuple(Value(name, text) for name, text in zip(plan.context, texts, strict=True))
