"""
Checks a trail: line by line, and against what others have seen of it.

Without an anchor or a ledger a trail that was rewritten whole is not told from a true one: whoever can write it can
chain it anew. What an anchor saw can't be rewritten unnoticed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from worker.authority.audit.chain import Place, SignedHead, hash_of
from worker.authority.audit.segments import lines as lines_of
from worker.errors import ConfigError

_MOST = 100


@dataclass(slots=True)
class Verdict:
    """
    What was found.

    Args:
        entries: whole lines read.
        chains: each chain's first and last number.
        anchored: heads and ledger entries that were found as they were seen.
        expired: those that lie in what the chain itself says was let go by its age.
        findings: what is wrong, the first hundred.
    """

    entries: int = 0
    chains: dict[str, tuple[int, int]] = field(default_factory=dict)
    anchored: int = 0
    expired: int = 0
    findings: list[str] = field(default_factory=list)

    def found(self, text: str) -> None:
        """Keep a finding."""
        if len(self.findings) < _MOST:
            self.findings.append(text)


def verify(directories: Sequence[Path], seen: Sequence[Place] = ()) -> Verdict:
    """
    Read whole trails.

    Args:
        directories: hold their files, each those of one process.
        seen: places that an anchor or a ledger has; each must be there, as it was.
    """
    verdict = Verdict()
    told: dict[str, _Expired] = {}
    wanted: dict[tuple[str, int], set[str]] = {}
    for place in seen:
        wanted.setdefault((place.chain, place.sequence), set()).add(place.hash)
    for directory in directories:
        last = None
        for path, number, line in lines_of(directory):
            where = f"{path.name if len(directories) == 1 else path}:{number}"
            last = _check(verdict, where, line, last, wanted, told) or last
    for chain, expired in told.items():
        if 0 <= expired.through == expired.first[0] and expired.hash != expired.first[1]:
            verdict.found(f"chain {chain} does not go on from line {expired.through}, up to which it was let go")
    missing: Counter[str] = Counter()
    for chain, sequence in wanted:
        if chain not in verdict.chains:
            missing[chain] += 1
            continue
        first, end = verdict.chains[chain]
        if sequence < first and chain in told and sequence <= told[chain].through:
            verdict.expired += 1
        elif not first <= sequence <= end:
            verdict.found(f"line {sequence} of chain {chain} was seen and is not there: the trail was cut off")
    for chain, count in missing.items():
        verdict.found(
            f"{count} lines of chain {chain} were seen and none is there: is another process's directory missing?"
        )
    return verdict


@dataclass(frozen=True, slots=True)
class _Expired:
    """Up to which line a chain was let go, its hash, and what the first line that is left says it follows."""

    through: int
    hash: str
    first: tuple[int, str]


def _check(
    verdict: Verdict,
    where: str,
    line: bytes,
    last: Place | None,
    wanted: dict[tuple[str, int], set[str]],
    told: dict[str, _Expired],
) -> Place | None:
    if not line.endswith(b"\n"):
        verdict.found(f"{where}: the line ends early")
    text = line.rstrip(b"\n")
    try:
        entry = orjson.loads(text)
        place = Place(str(entry["chain"]), int(entry["seq"]), hash_of(text))
        before = str(entry["prev"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        verdict.found(f"{where}: this is no line of a trail")
        return None
    verdict.entries += 1
    if last is not None and (place.chain, place.sequence) != (last.chain, last.sequence + 1):
        verdict.found(f"{where}: line {place.sequence} follows {last.sequence}: dropped, doubled or moved")
    elif last is not None and before != last.hash:
        verdict.found(f"{where}: line {last.sequence} was changed after {place.sequence} was written")
    if place.chain not in verdict.chains:
        told[place.chain] = _Expired(-1, "", (place.sequence - 1, before))
    if entry.get("operation") == "chain" and entry.get("outcome") == "expired":
        try:
            expired = _Expired(int(entry["through"]), str(entry["through_hash"]), told[place.chain].first)
        except (KeyError, TypeError, ValueError):
            verdict.found(f"{where}: it does not say up to where the chain was let go")
        else:
            told[place.chain] = max(told[place.chain], expired, key=lambda e: e.through)
    first, _ = verdict.chains.get(place.chain, (place.sequence, 0))
    verdict.chains[place.chain] = (first, place.sequence)
    hashes = wanted.get((place.chain, place.sequence))
    if hashes is not None:
        if hashes == {place.hash}:
            verdict.anchored += 1
        else:
            verdict.found(f"{where}: line {place.sequence} is not the one that was seen: the trail was rewritten")
    return place


def read_heads(path: Path, key: bytes | None) -> list[Place]:
    """Read an anchor's places; raises `ConfigError` for a head that the key's owner did not sign."""
    heads = read_anchor(path)
    for head in heads:
        if key is not None and not head.is_signed_by(key):
            raise ConfigError(f"{path}: the head of line {head.place.sequence} is not signed by this audit key")
    return [head.place for head in heads]


def read_anchor(path: Path) -> list[SignedHead]:
    """
    Read an anchor, JSON Lines of signed heads; raises `ConfigError` for a line that is no head.

    What a full disk left of a line is none: whoever can cut lines short can take them out, too.
    """
    heads = []
    for number, body in _objects(path, torn=True):
        try:
            heads.append(SignedHead.from_json(body))
        except (KeyError, TypeError, ValueError):
            raise ConfigError(f"{path}:{number} is no signed head") from None
    return heads


def read_ledger(path: Path) -> list[Place]:
    """
    Read what clients kept, JSON Lines: `chain`, `seq` and `hash`, or the entries of a ledger's topic as they are.

    Raises `ConfigError` for a line that is neither.
    """
    places: list[Place] = []
    for number, body in _objects(path):
        try:
            if "sequence" in body:
                places += [_place(text) for text in body.get("audited", ())]
            elif "checkpoint" not in body:
                places.append(Place(str(body["chain"]), int(body["seq"]), str(body["hash"])))
        except (KeyError, TypeError, ValueError):
            raise ConfigError(f"{path}:{number} is neither a receipt (chain, seq, hash) nor a ledger's entry") from None
    return places


def _place(receipt: str) -> Place:
    chain, sequence, digest, *_ = receipt.split()
    return Place(chain, int(sequence), digest)


def _objects(path: Path, *, torn: bool = False) -> Iterable[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError as exc:
        raise ConfigError(f"{path} can't be read: {exc.strerror}") from exc
    for number, line in enumerate(lines, 1):
        try:
            body = orjson.loads(line)
        except orjson.JSONDecodeError as exc:
            if torn:
                continue
            raise ConfigError(f"{path}:{number} can't be read as JSON Lines") from exc
        if not isinstance(body, dict):
            raise ConfigError(f"{path}:{number} is no object")
        yield number, body
