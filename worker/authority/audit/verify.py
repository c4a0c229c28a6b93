"""
Checks a trail: line by line, and against what others have seen of it.

Without an anchor or a ledger a trail that was rewritten whole is not told from a true one: whoever can write it can
chain it anew. What an anchor saw can't be rewritten unnoticed.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from worker.authority.audit.chain import Place, SignedHead, hash_of
from worker.authority.audit.segments import lines as lines_of
from worker.authority.audit.segments import time_of
from worker.errors import ConfigError

_MOST, _DAY_S = 100, 86_400.0


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


def verify(directories: Sequence[Path], seen: Sequence[Place] = (), *, keep_s: float | None = None) -> Verdict:
    """
    Read whole trails.

    Args:
        directories: hold their files, each those of one process; files that were moved away lie in one of their own.
        seen: places that an anchor or a ledger has; each must be there, as it was.
        keep_s: how old lines are at least that are let go; None believes the chain.
    """
    reader = _Reader(seen, keep_s)
    for directory in directories:
        reader.read(directory, is_alone=len(directories) == 1)
    reader.join()
    reader.look_for()
    return reader.verdict


@dataclass(slots=True)
class _Run:
    """What one directory has of a chain: its first line's number, the hash that it follows, its time; its last line."""

    directory: Path
    first: int
    before: str
    begun: float | None
    last: Place


class _Reader:
    """Reads directories one after the other, and then says how they fit together and to what was seen."""

    def __init__(self, seen: Sequence[Place], keep_s: float | None) -> None:
        self.verdict = Verdict()
        self._keep_s = keep_s
        self._let_go_at: dict[str, float] = {}
        self._wanted: dict[tuple[str, int], set[str]] = {}
        for place in seen:
            self._wanted.setdefault((place.chain, place.sequence), set()).add(place.hash)
        self._runs: dict[str, list[_Run]] = {}
        self._expired: dict[str, tuple[int, str]] = {}

    def read(self, directory: Path, *, is_alone: bool) -> None:
        """Check each line against the one before it, and what was seen of it."""
        runs: dict[str, _Run] = {}
        last: Place | None = None
        for path, number, line in lines_of(directory):
            where = f"{path.name if is_alone else path}:{number}"
            if not line.endswith(b"\n"):
                self.verdict.found(f"{where}: the line ends early")
            text = line.rstrip(b"\n")
            try:
                entry = orjson.loads(text)
                place, before = Place(str(entry["chain"]), int(entry["seq"]), hash_of(text)), str(entry["prev"])
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                self.verdict.found(f"{where}: this is no line of a trail")
                continue
            self._check(where, place, before, last)
            at = time_of(text)
            if at is not None and place.chain in self._let_go_at:
                # Nobody makes old what he lets go by the time that he says it is.
                self._let_go_at[place.chain] = min(at, self._let_go_at[place.chain])
            if entry.get("operation") == "chain" and entry.get("outcome") == "expired":
                self._let_go(where, place.chain, entry)
                self._let_go_at[place.chain] = min(time.time(), at or 0.0)
            last, run = place, runs.get(place.chain)
            if run is None:
                runs[place.chain] = _Run(directory, place.sequence, before, at, place)
            else:
                run.last = place
        if not runs:
            self.verdict.found(f"{directory} has no trail")
        for chain, run in runs.items():
            self._runs.setdefault(chain, []).append(run)

    def join(self) -> None:
        """Check that what several directories have of one chain is one chain."""
        for chain, runs in self._runs.items():
            runs.sort(key=lambda run: run.first)
            self.verdict.chains[chain] = runs[0].first, max(run.last.sequence for run in runs)
            through, digest = self._expired.get(chain, (-1, ""))
            if 0 <= through == runs[0].first - 1 and digest != runs[0].before:
                self.verdict.found(f"chain {chain} does not go on from line {through}, up to which it was let go")
            if through == runs[0].first - 1:
                self._is_old(chain, runs[0])
            if through < runs[0].first - 1:
                self.verdict.found(
                    f"{runs[0].directory}: chain {chain} begins at line {runs[0].first}, and what came before was not "
                    "let go by its age: cut off, or moved to a directory that is not named here"
                )
            for one, other in pairwise(runs):
                if other.first <= one.last.sequence:
                    self.verdict.found(
                        f"{one.directory} and {other.directory} both have line {other.first} of chain {chain}: one "
                        "is a copy, or the authority went on from a copy"
                    )
                elif other.first == one.last.sequence + 1 and other.before != one.last.hash:
                    self.verdict.found(
                        f"{one.directory}: line {one.last.sequence} was changed after {other.first} was written"
                    )
                elif one.last.sequence < other.first - 1 > through:
                    self.verdict.found(
                        f"{other.directory}: line {other.first} of chain {chain} follows {one.last.sequence} in "
                        f"{one.directory}: dropped"
                    )

    def _is_old(self, chain: str, run: _Run) -> None:
        """Check that what is left was as old as it had to be when the lines before it were let go."""
        if self._keep_s is None or chain not in self._let_go_at:
            return
        age_s = self._let_go_at[chain] - (run.begun or sys.maxsize)
        if age_s < self._keep_s:
            self.verdict.found(
                f"chain {chain} was let go up to line {run.first - 1} when line {run.first} was {age_s / _DAY_S:.1f} "
                "days old: too early by the retention that you name"
            )

    def look_for(self) -> None:
        """Check that what was seen is there."""
        missing: Counter[str] = Counter()
        for (chain, sequence), hashes in self._wanted.items():
            if chain not in self.verdict.chains:
                missing[chain] += 1
                continue
            first, end = self.verdict.chains[chain]
            through, digest = self._expired.get(chain, (-1, ""))
            if sequence < first and sequence <= through:
                self.verdict.expired += 1
                if sequence == through and hashes != {digest}:
                    self.verdict.found(
                        f"line {sequence} of chain {chain}, the last that was let go, is not the one seen"
                    )
            elif not first <= sequence <= end:
                self.verdict.found(f"line {sequence} of chain {chain} was seen and is not there: the trail was cut off")
        for chain, count in missing.items():
            self.verdict.found(
                f"{count} lines of chain {chain} were seen and none is there: is another process's directory missing?"
            )

    def _check(self, where: str, place: Place, before: str, last: Place | None) -> None:
        self.verdict.entries += 1
        if last is not None and (place.chain, place.sequence) != (last.chain, last.sequence + 1):
            self.verdict.found(f"{where}: line {place.sequence} follows {last.sequence}: dropped, doubled or moved")
        elif last is not None and before != last.hash:
            self.verdict.found(f"{where}: line {last.sequence} was changed after {place.sequence} was written")
        hashes = self._wanted.get((place.chain, place.sequence))
        if hashes == {place.hash}:
            self.verdict.anchored += 1
        elif hashes is not None:
            self.verdict.found(f"{where}: line {place.sequence} is not the one that was seen: the trail was rewritten")

    def _let_go(self, where: str, chain: str, entry: dict[str, Any]) -> None:
        try:
            told = int(entry["through"]), str(entry["through_hash"])
        except (KeyError, TypeError, ValueError):
            self.verdict.found(f"{where}: it does not say up to where the chain was let go")
        else:
            self._expired[chain] = max(self._expired.get(chain, (-1, "")), told)


def read_heads(path: Path, keys: Sequence[bytes]) -> list[Place]:
    """Read an anchor's places; raises `ConfigError` for a head that the owner of none of the keys given signed."""
    heads = read_anchor(path)
    for head in heads:
        if keys and not any(head.is_signed_by(key) for key in keys):
            raise ConfigError(
                f"{path}: the head of line {head.place.sequence}, of incarnation {head.store[0]}, is not signed by the "
                "audit key; each restore begins an incarnation with a key of its own: give every one (--key)"
            )
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
