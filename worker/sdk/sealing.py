"""Python values to envelopes, under keys from whichever source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from worker.avro import encode_value
from worker.encryption import leased
from worker.encryption.handles import seal_singles, seal_texts
from worker.encryption.plaintext import to_typed
from worker.encryption.values import typed_of_values
from worker.errors import RecordError
from worker.model import DataKey, LeasePortion
from worker.native import IS_LOADED, extension
from worker.sdk.options import Sealing
from worker.sdk.prepared import Seal, placed
from worker.sdk.values import plan, schema_of

if TYPE_CHECKING:
    from worker import _native


@dataclass(frozen=True, slots=True)
class Ready:
    """Plaintexts that wait for their keys, n of them; all that could be refused has been."""

    seal: Seal
    plain: Sequence[bytes] = field(repr=False)
    fingerprint: bytes

    def singles(self) -> Callable[[Sequence[DataKey]], list[bytes]]:
        """Return what seals the next ones, each under a key of its own, in the `record` format; keys are used up."""
        rest = iter(self.plain)
        return lambda keys: seal_singles(keys, list(islice(rest, len(keys))))

    def leased(self, portions: Sequence[LeasePortion]) -> list[bytes]:
        """Seal all under leases, in the `leased` format."""
        bound, out = tuple(self.seal.bind.values()), list[bytes]()
        for portion in portions:
            part = self.plain[len(out) : len(out) + portion.count]
            out += leased.seal(
                portion.key,
                self.fingerprint,
                part,
                context=self.seal.named,
                bind_names=tuple(self.seal.bind),
                binds=[bound] * len(part) if bound else None,
            )
        return out


@dataclass(frozen=True, slots=True)
class ReadyTexts:
    """Texts that wait for their keys, as `Ready`, in native memory."""

    texts: _native.Texts

    def singles(self) -> Callable[[Sequence[DataKey]], list[bytes]]:
        """See `Ready.singles`."""
        start = 0

        def sealed(keys: Sequence[DataKey]) -> list[bytes]:
            nonlocal start
            first, start = start, start + len(keys)
            return seal_texts(keys, self.texts, first)

        return sealed


def ready_singles(seal: Seal, values: Sequence[object], given: Sealing) -> Ready | ReadyTexts:
    """As `ready`, for the `record` format."""
    if IS_LOADED and given.schema is None and set(map(type, values)) == {str}:
        texts: Any = values
        with suppress(UnicodeEncodeError):
            return ReadyTexts(extension.Texts(texts))
    return ready(seal, values, given)


def ready(seal: Seal, values: Sequence[object], given: Sealing) -> Ready:
    """Turn values into plaintexts; raises `RecordError` for one that has no exact form, and says which it is."""
    try:
        return _ready(seal, values, given)
    except RecordError:
        for i, value in enumerate(values if len(values) > 1 else ()):
            try:
                _ready(seal, [value], given)
            except RecordError as exc:
                raise placed(exc, i) from None
        raise


def _ready(seal: Seal, values: Sequence[object], given: Sealing) -> Ready:
    if given.format == "leased":
        chosen = schema_of(values) if given.schema is None else given.schema
        return Ready(seal, [encode_value(chosen, value) for value in values], plan(chosen).fingerprint)
    if given.schema is None:
        return Ready(seal, typed_of_values(values), b"")
    to_plaintext = to_typed(plan(given.schema))
    return Ready(seal, [to_plaintext(encode_value(given.schema, value)) for value in values], b"")
