"""Search terms: what an index may know of a value so that equal or similar ones are found without its plaintext."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from worker.encryption.plaintext import TEXT
from worker.errors import ConfigError, RecordError

_TEXT_PREFIX = bytes((1, TEXT))


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOptions:
    """
    How a match term is made; reader and writer need the same.

    Args:
        k: bits set for each token.
        m: bits of the filter, a power of two from 32 to 65536.
        gram: characters a token has.
        lower: whether case is ignored.
    """

    k: int = 6
    m: int = 2048
    gram: int = 3
    lower: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.k <= 16 or self.m not in {2**n for n in range(5, 17)} or self.gram < 1:
            raise ConfigError("a match term has 1-16 bits a token and a power of two from 32 to 65536 bits in all")


@dataclass(frozen=True, slots=True)
class IndexKey:
    """A keyset's index key, 32 bytes, equal for all its clients."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise ValueError("an index key is 32 bytes")


def unique(key: IndexKey, typed: bytes, *, lower: bool = False) -> str:
    """
    Return the equality term `hm` of a typed plaintext, lower-case hex.

    Equal values of a keyset have equal terms, across columns too: it shows which rows are equal and how often.

    Source:
        tests/vectors/zerokms.json, `index_terms`
    """
    if lower and typed.startswith(_TEXT_PREFIX):
        typed = _TEXT_PREFIX + typed[2:].decode().lower().encode()
    return hmac.digest(key.secret, typed, "sha256").hex()


def match(key: IndexKey, text: str, options: MatchOptions | None = None) -> list[int]:
    """
    Return the match term `bf` of a text: the numbers of the filter's set bits, ascending.

    Source:
        tests/vectors/zerokms.json, `index_terms`
    """
    chosen = MatchOptions() if options is None else options
    bits: set[int] = set()
    for token in _tokens(text, chosen):
        digest = hmac.digest(key.secret, token.encode(), "sha256")
        for i in range(chosen.k):
            bits.add(int.from_bytes(digest[2 * i : 2 * i + 2], "little") % chosen.m)
    return sorted(bits)


def match_query(key: IndexKey, text: str, options: MatchOptions | None = None) -> list[int]:
    """Return the term to search for; raises `RecordError` for a text without a token, which would match all rows."""
    bits = match(key, text, options)
    if not bits:
        raise RecordError("the searched text is shorter than one token and would match every row")
    return bits


def _tokens(text: str, options: MatchOptions) -> Sequence[str]:
    if text[:1] in ("%", "_"):
        text = text[1:]
    if text[-1:] in ("%", "_"):
        text = text[:-1]
    if options.lower:
        text = text.lower()
    return [text[i : i + options.gram] for i in range(len(text) - options.gram + 1)]
