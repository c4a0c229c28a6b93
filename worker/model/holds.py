"""The keys of a whole batch: what it needs, what it is given, and who gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeAlias

from worker.errors import WorkerError
from worker.model.keys import DataKey, KeySpec, Value
from worker.model.plan import Format

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]

Texts = tuple[str, ...]


@dataclass(slots=True)
class LeasePortion:
    """`count` values that may be sealed under `key`, in order; a batch may span the end of one lease."""

    key: DataKey
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class KeyNeed:
    """
    The keys that one column of a batch needs, for all of its contexts at once.

    Args:
        format: `record` needs a key a value, `leased` a lease a context.
        spec: what the contexts have in common; its own context is empty where `names` are given.
        names: names of a context's texts, in order.
        contexts: n distinct contexts, each its texts in the order of `names`; `[()]` where there are no names.
        counts: n numbers of values, none 0.
        totals: n sizes of these values together, in bytes; `leased` alone looks at them.
        sizes_of: place of a context -> the sizes of its values, for one that passes the end of a lease.
        is_native: the values lie in native memory; leases may be given there too (`Grant.native`).
    """

    format: Format
    spec: KeySpec
    names: tuple[str, ...]
    contexts: Sequence[Texts] = field(repr=False)
    counts: Ints
    totals: Ints
    sizes_of: Callable[[int], Sequence[int]] = field(repr=False)
    is_native: bool = False

    def spec_of(self, at: int) -> KeySpec:
        """Return the whole spec of one context."""
        return spec_of(self.spec, self.names, self.contexts[at])


def spec_of(common: KeySpec, names: Sequence[str], texts: Sequence[str]) -> KeySpec:
    """Return a spec with the named texts as its context."""
    if not names:
        return common
    return KeySpec(common.keyset, common.descriptor, tuple(map(Value, names, texts)), common.policy)


@dataclass(slots=True, eq=False)
class Grant:
    """
    Keys that have arrived for contexts of one need; a context's values are granted from their first one on, in order.

    Args:
        need: the need's place in what was asked for.
        at: m places within `contexts`; a context whose values span two leases comes twice.
        counts: m numbers of values that the keys serve, counted from where the context's last grant ended.
        keys: `leased`: m keys, one a context; `record`: one for each value, context after context.
        native: `leased`: copies of the m keys in native memory, of the batch alone; `keys` is empty then.
    """

    need: int
    at: Ints
    counts: Ints
    keys: Sequence[DataKey] = field(repr=False)
    native: object | None = field(default=None, repr=False)


class KeyHold(Protocol):
    """
    All keys of one batch, given as they arrive; nothing that it was given is wiped before it ends.

    Iterating ends when every context has all of its keys or has been refused.
    """

    @property
    def refused(self) -> Mapping[tuple[int, int], WorkerError]:
        """The refusals so far, by need and place within its contexts."""
        ...

    def __iter__(self) -> Iterator[Grant]:
        """
        Yield keys, those that are at hand first; waits for the rest.

        Raises:
            KeyServiceUnavailable: keys are missing and the service does not answer within the wait's bound.
            KeyAccessDenied: the identity has been refused, not one context.
        """
        ...


class EncryptionKeys(Protocol):
    """Where encryption gets its keys: pools of single-use keys and leases, filled ahead."""

    def hold(self, needs: Iterable[KeyNeed]) -> AbstractContextManager[KeyHold]:
        """
        Begin to fetch what a whole batch lacks, in full requests, and give it as it arrives.

        The caller wipes each key of the `record` format after its one value. The keys of leases stay the lease's own;
        they last until the hold ends.
        """
        ...

    def take(self, spec: KeySpec, count: int) -> Sequence[DataKey]:
        """
        Return `count` keys that nobody else gets; the caller wipes each after its one value.

        Raises:
            KeyServiceUnavailable: the pool is empty and the service does not answer within the wait's bound.
            KeyAccessDenied: the identity, or this context, has been refused.
        """
        ...

    def lease(self, spec: KeySpec, sizes: Sequence[int]) -> list[LeasePortion]:
        """
        Return portions of leases for values of the given sizes in bytes, in order; counts add up to `len(sizes)`.

        The keys stay the lease's own: the caller neither wipes nor keeps them beyond its call. Raises as `take`.
        """
        ...
