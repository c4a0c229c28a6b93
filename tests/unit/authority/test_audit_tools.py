"""`worker authority audit`: what verification finds, what it can't, and reading, exporting and rotating a trail."""

from __future__ import annotations

import base64
import contextlib
import csv
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from tests.unit.authority.conftest import access_key, party
from worker.authority.audit import Trail, TrailKeys
from worker.authority.audit.ageing import Ageing
from worker.authority.audit.anchor import Anchor
from worker.authority.audit.chain import Place, SignedHead, hash_of
from worker.authority.audit.export import ocsf
from worker.authority.audit.query import Query
from worker.authority.audit.retention import Retention
from worker.authority.audit.segments import segments, time_of
from worker.authority.audit.verify import read_heads, verify
from worker.authority.dev import DevAuthority
from worker.cli import authority_audit
from worker.errors import ConfigError, KeyAccessDenied

SIGNING = Ed25519PrivateKey.generate()
PUBLIC = SIGNING.public_key().public_bytes_raw()
REQUIRED = {"class_uid", "activity_id", "type_uid", "time", "severity_id", "metadata", "actor"}


def trail(directory: Path, **more: Any) -> Trail:
    made = Trail(directory / "audit.jsonl", TrailKeys(bytes(32), SIGNING), "eu-central-1", **more)
    made.begin()
    return made


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, Path]:
    """A trail of a hundred entries in several files, and what an anchor saw of it."""
    own = trail(tmp_path, sync=False, segment_bytes=8000)
    anchor = Anchor(own, tmp_path / "anchor", every_s=3600)
    for number in range(100):
        own.record({"operation": "generate", "workspace": "W", "keyset": "k", "number": number})
        if number % 30 == 0:
            anchor.keep()
    anchor.close()
    own.close()
    return tmp_path, tmp_path / "anchor"


def all_lines(directory: Path) -> list[bytes]:
    return b"".join(path.read_bytes() for path in segments(directory)).splitlines()


def test_a_whole_trail_is_found_whole(kept: tuple[Path, Path]) -> None:
    """Over all its files the chain is one, and everything that the anchor saw is there."""
    directory, anchor = kept

    verdict = verify([directory], read_heads(anchor, [PUBLIC]))

    assert (verdict.findings, verdict.entries, verdict.anchored) == ([], 101, 5)
    assert len(segments(directory)) > 3


def rewritten(lines: list[bytes], change: Callable[[list[bytes]], Any]) -> None:
    """Change lines and chain all that follow anew, as whoever owns the file can."""
    change(lines)
    before = "0" * 64
    for at, line in enumerate(lines):
        entry = json.loads(line) | {"prev": before, "seq": at}
        lines[at] = json.dumps(entry).encode()
        before = hash_of(lines[at])


def changed(lines: list[bytes]) -> None:
    lines[40] = lines[40].replace(b'"keyset":"k"', b'"keyset":"x"')


TAMPERING: dict[str, Callable[[list[bytes]], Any]] = {
    "changed": changed,
    "dropped": lambda lines: lines.pop(40),
    "first dropped and numbered anew": lambda lines: rewritten(lines, lambda each: each.pop(0)),
    "reordered": lambda lines: lines.insert(40, lines.pop(41)),
    "duplicated": lambda lines: lines.insert(40, lines[40]),
    "truncated": lambda lines: lines.__delitem__(slice(95, None)),
    "rewritten whole": lambda lines: rewritten(lines, changed),
    "not JSON": lambda lines: lines.__setitem__(40, b"x"),
}
UNSEEN = {"truncated", "rewritten whole", "first dropped and numbered anew"}
"""What nobody can tell without having seen the trail before."""


@pytest.mark.parametrize("kind", TAMPERING, ids=lambda kind: kind.replace(" ", "_"))
def test_every_kind_of_tampering_is_found(kept: tuple[Path, Path], kind: str) -> None:
    """With an anchor all of it; without one, what breaks the chain, and not what was chained anew."""
    directory, anchor = kept
    lines = all_lines(directory)
    for path in segments(directory)[:-1]:
        path.unlink()
    TAMPERING[kind](lines)
    (directory / "audit.jsonl").write_bytes(b"\n".join(lines) + b"\n")

    assert verify([directory], read_heads(anchor, [PUBLIC])).findings != []
    assert (verify([directory]).findings == []) == (kind in UNSEEN)


def test_a_ledger_s_entries_are_looked_for(kept: tuple[Path, Path]) -> None:
    """What a client kept of its own requests is there as it was, or is found missing."""
    directory, _ = kept
    lines = all_lines(directory)
    chain = json.loads(lines[7])["chain"]

    assert verify([directory], [Place(chain, 7, hash_of(lines[7]))]).findings == []
    assert verify([directory], [Place(chain, 7, hash_of(lines[8]))]).findings != []
    assert verify([directory], [Place(chain, 1000, hash_of(lines[8]))]).findings != []


def test_an_anchor_that_somebody_else_signed_is_refused(kept: tuple[Path, Path]) -> None:
    """A head counts only under the authority's own key."""
    _, anchor = kept

    with pytest.raises(ConfigError, match="not signed"):
        read_heads(anchor, [Ed25519PrivateKey.generate().public_key().public_bytes_raw()])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (["verify", ".", "--key", "abc"], "32 bytes in base64"),
        (["verify", ".", "--key", "AAAA"], "32 bytes in base64"),
        (["export", "--output", "x", "--since", "yesterday"], "--since 'yesterday' is no time"),
        (["query", "--until", "1.2.2026"], "--until '1.2.2026' is no time"),
    ],
)
def test_what_an_auditor_mistypes_is_told(call: list[str], told: str, tmp_path: Path) -> None:
    """Before anything is asked of the authority."""
    there = {"CS_ZEROKMS_HOST": "http://127.0.0.1:9", "CS_ADMIN_ACCESS_KEY": "x"}
    with pytest.raises(ConfigError, match=told), contextlib.chdir(tmp_path):
        CliRunner(env=there).invoke(authority_audit.app, call, catch_exceptions=False)


def test_a_full_disk_cuts_no_other_line_of_the_anchor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it left of a line is none, the next one is whole, and the anchor is read."""
    own, write = trail(tmp_path, sync=False), os.write
    anchor = Anchor(own, tmp_path / "anchor", every_s=3600)
    own.record({"operation": "one"})
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:30]))
    with pytest.raises(OSError, match="full"):
        anchor.keep()
    monkeypatch.setattr(os, "write", write)
    anchor.keep()
    own.record({"operation": "two"})
    anchor.close()
    own.close()

    seen = read_heads(tmp_path / "anchor", [PUBLIC])

    assert [place.sequence for place in seen] == [1, 2]
    assert not verify([tmp_path], seen).findings


def test_an_anchor_that_can_only_be_appended_to_is_opened_for_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file with the attribute `a` is, which refuses every other way of writing."""
    own, opening = trail(tmp_path, sync=False), os.open
    (tmp_path / "anchor").touch(mode=0o600)

    def append_only(path: Any, flags: int, *more: Any) -> int:
        if Path(path).name == "anchor" and flags & (os.O_WRONLY | os.O_RDWR) and not flags & os.O_APPEND:
            raise PermissionError(errno.EPERM, "append only")
        return opening(path, flags, *more)

    monkeypatch.setattr(os, "open", append_only)
    Anchor(own, tmp_path / "anchor", every_s=3600).close()
    own.close()

    assert len(read_heads(tmp_path / "anchor", [PUBLIC])) == 1


@pytest.mark.parametrize("after", [-1, 0, 13, 50, 77, 97, 98, 99, 100, 5000])
def test_nothing_is_left_out_after_a_number(kept: tuple[Path, Path], after: int) -> None:
    """Wherever files begin and end: whoever asks page by page gets every line once."""
    directory, _ = kept
    assert len(segments(directory)) > 3

    found = [entry["seq"] for entry in Query(workspace="W").find(directory, after=after)]

    assert found == list(range(max(after, 0) + 1, 101))


def test_a_file_that_is_closed_while_it_is_read_is_read_once(kept: tuple[Path, Path]) -> None:
    """Neither twice nor not at all."""
    directory, _ = kept
    reading = Query(workspace="W").find(directory)
    found = [next(reading)["seq"]]
    active = directory / "audit.jsonl"
    active.rename(directory / f"audit-{json.loads(active.read_text().splitlines()[0])['seq']:012d}.jsonl")
    active.touch(mode=0o600)

    found += [entry["seq"] for entry in reading]

    assert found == list(range(1, 101))


def moved_away(directory: Path, count: int) -> Path:
    """The oldest files in a directory of their own."""
    archive = directory / "archive"
    archive.mkdir()
    for path in segments(directory)[:count]:
        path.rename(archive / path.name)
    return archive


def test_files_that_were_moved_away_are_the_same_chain(kept: tuple[Path, Path]) -> None:
    """Named beside what is left, in either order, they are whole; without them what was seen of them is missing."""
    directory, anchor = kept
    seen, archive = read_heads(anchor, [PUBLIC]), moved_away(directory, 2)

    for both in ([archive, directory], [directory, archive]):
        verdict = verify(both, seen)
        assert (verdict.findings, verdict.entries, verdict.anchored) == ([], 101, len(seen))
    assert verify([directory], seen).findings


def test_a_beginning_that_is_not_there_is_found(kept: tuple[Path, Path]) -> None:
    """Whole files, or the first line alone, without any anchor: only what the chain says that it let go may be gone."""
    directory, _ = kept
    oldest = segments(directory)[0]
    whole = oldest.read_bytes()
    oldest.write_bytes(whole.partition(b"\n")[2])
    one = verify([directory]).findings
    oldest.unlink()
    all_of_it = verify([directory]).findings
    oldest.write_bytes(whole)

    assert [len(found) for found in (one, all_of_it, verify([directory]).findings)] == [1, 1, 0]
    assert "begins at line 1, and what came before was not let go" in one[0]


APART: dict[str, tuple[str, Callable[[Path, Path], Any]]] = {
    "last line altered": ("was changed after", lambda archive, _: altered_last(segments(archive)[-1])),
    "a file between": ("dropped", lambda archive, _: segments(archive)[-1].unlink()),
    "in both": ("is a copy", lambda archive, own: shutil.copy(segments(archive)[-1], own)),
    "a directory that is none": ("has no trail", lambda archive, _: shutil.rmtree(archive)),
}


def altered_last(path: Path) -> None:
    first, _, last = path.read_bytes().rstrip(b"\n").rpartition(b"\n")
    path.write_bytes(first + b"\n" + last.replace(b'"W"', b'"X"') + b"\n")


@pytest.mark.parametrize("kind", APART, ids=lambda kind: kind.replace(" ", "_"))
def test_what_lies_in_two_directories_must_fit(kept: tuple[Path, Path], kind: str) -> None:
    """A line where one ends and the other goes on is checked as any."""
    directory, _ = kept
    archive, (finding, act) = moved_away(directory, 2), APART[kind]
    act(archive, directory)

    assert any(finding in found for found in verify([archive, directory]).findings)


def test_an_authority_that_went_on_from_a_copy_is_found(tmp_path: Path) -> None:
    """Both trails are whole by themselves, and say different things of one chain."""
    for name in ("first", "copy"):
        (tmp_path / name).mkdir()
    own = trail(tmp_path / "first", sync=False)
    own.close()
    shutil.copy(own.path, tmp_path / "copy")
    for name in ("first", "copy"):
        again = trail(tmp_path / name, sync=False)
        again.record({"operation": name})
        again.close()

    verdict = verify([tmp_path / "first", tmp_path / "copy"])

    assert any("went on from a copy" in found for found in verdict.findings)


def test_a_file_of_another_name_is_none_of_the_trail(kept: tuple[Path, Path]) -> None:
    """A copy that somebody left beside them stops neither the check nor a question."""
    directory, _ = kept
    for name in ("audit-000000000000 copy.jsonl", "audit-1x.jsonl", "audit-7.jsonl"):
        shutil.copy(segments(directory)[0], directory / name)

    assert (verify([directory]).findings, verify([directory]).entries) == ([], 101)
    assert len(list(Query(workspace="W").find(directory, after=50))) == 50


def test_the_command_exits_1_where_it_finds_something(kept: tuple[Path, Path]) -> None:
    """0 for a whole trail under its anchor, 1 and where for another, and it says what no anchor means."""
    directory, anchor = kept
    whole = ["verify", str(directory), "--anchor", str(anchor), "--key", base64.b64encode(PUBLIC).decode()]
    assert CliRunner().invoke(authority_audit.app, whole).exit_code == 0
    assert "not told from a true one" in CliRunner().invoke(authority_audit.app, ["verify", str(directory)]).output

    path = segments(directory)[2]
    path.write_bytes(path.read_bytes().replace(b'"keyset":"k"', b'"keyset":"x"', 1))
    found = CliRunner().invoke(authority_audit.app, whole)

    assert found.exit_code == 1
    assert path.name in found.output


def test_a_line_of_what_was_let_go_says_up_to_where(tmp_path: Path) -> None:
    """One that does not is found, and no reason to stop looking."""
    own = trail(tmp_path, sync=False)
    own.record({"operation": "chain", "outcome": "expired"})
    own.record({"operation": "x"})
    own.close()

    verdict = verify([tmp_path])

    assert (verdict.entries, len(verdict.findings)) == (3, 1)


def test_a_trail_goes_on_after_each_file(tmp_path: Path) -> None:
    """Closed between two files or anywhere else, the chain goes on where it was."""
    for _ in range(5):
        own = trail(tmp_path, sync=False, segment_bytes=600)
        own.record({"operation": "x"})
        own.close()
    (tmp_path / "audit.jsonl").rename(tmp_path / "audit-000000999999.jsonl")
    own = trail(tmp_path, sync=False)
    own.record({"operation": "last"})
    own.close()

    verdict = verify([tmp_path])
    assert (verdict.findings, verdict.entries, len(verdict.chains)) == ([], 7, 1)


_KEEP_S = 50_000.0


def aged(directory: Path) -> list[SignedHead]:
    """A trail of several closed files, all but the last two old; the heads that an anchor saw after each line."""
    heads = []
    own = trail(directory, sync=False, segment_bytes=600)
    for number in range(12):
        with time_machine.travel(time.time() - (2 * _KEEP_S if number < 9 else 0), tick=False):
            own.record({"operation": f"x{number}"})
        heads.append(own.head)
    own.close()
    for path in segments(directory):
        with path.open("rb") as file:
            written = time_of(file.readlines()[-1])
        assert written is not None
        os.utime(path, (written, written))
    return heads


def test_what_is_old_is_let_go_and_the_chain_says_so(tmp_path: Path) -> None:
    """Old files go, young ones stay; whoever verifies against an anchor is told what was let go, and misses nothing."""
    heads, before = aged(tmp_path), segments(tmp_path)
    own = trail(tmp_path, sync=False)
    retention = Retention(own, _KEEP_S)
    retention.close()
    own.close()

    verdict = verify([tmp_path], [head.place for head in heads])
    assert segments(tmp_path) == before[-2:]
    assert verdict.findings == []
    assert verdict.expired > 0
    assert verdict.expired + verdict.anchored == len(heads)


@pytest.mark.parametrize("kind", ["more is gone", "said and another is gone", "not said"])
def test_more_than_was_let_go_is_cut_off(tmp_path: Path, kind: str) -> None:
    """A file that goes by another hand is found, whatever the chain says of earlier ones."""
    heads = aged(tmp_path)
    own = trail(tmp_path, sync=False)
    if kind == "not said":
        segments(tmp_path)[0].unlink()
    else:
        Retention(own, _KEEP_S).close()
        left = segments(tmp_path)
        if kind == "more is gone":
            left[0].unlink()
        else:
            left[0].write_bytes(left[0].read_bytes().replace(b'"prev":"', b'"prev":"0', 1))
    own.close()

    assert verify([tmp_path], [head.place for head in heads]).findings


class Clocks:
    """Two clocks that tick once a look: one that can be put forward, and one that can't."""

    def __init__(self) -> None:
        self.ahead, self._ticks = 0.0, 0.0

    def wall(self) -> float:
        return time.time() + self._ticks + self.ahead

    def elapsed(self) -> float:
        return self._ticks

    def pass_by(self, seconds: float) -> None:
        self._ticks += seconds


@pytest.mark.parametrize("meanwhile", ["serving", "down", "down and cut short"])
def test_a_clock_that_leaps_ahead_deletes_nothing(tmp_path: Path, meanwhile: str) -> None:
    """Files are as old as the time that has passed, also where the authority is started anew under a leapt clock."""
    aged(tmp_path)
    for path in segments(tmp_path):
        os.utime(path)
    before, clocks = segments(tmp_path), Clocks()
    own = trail(tmp_path, sync=False)
    ageing = Ageing(tmp_path, clock=clocks.wall, elapsed=clocks.elapsed)
    Retention(own, _KEEP_S, ageing=ageing).close()

    clocks.ahead = 10 * 365 * 86_400.0
    if meanwhile != "serving":
        with time_machine.travel(clocks.wall()):
            own.record({"operation": "under the leapt clock"})
        ageing = Ageing(tmp_path, clock=clocks.wall, elapsed=clocks.elapsed)
    if meanwhile == "down and cut short":
        with contextlib.suppress(OSError):
            ageing.look([before[0], tmp_path / "absent"])
        ageing = Ageing(tmp_path, clock=clocks.wall, elapsed=clocks.elapsed)
    retention = Retention(own, _KEEP_S, ageing=ageing)
    retention.close()
    held = segments(tmp_path)
    clocks.pass_by(2 * _KEEP_S)
    gone = retention.apply()
    own.close()

    assert held == before
    # What was made younger twice stays longer, and all that follows it.
    assert gone == ([] if meanwhile == "down and cut short" else before[:-1])


def test_who_lets_go_what_is_young_is_found(tmp_path: Path) -> None:
    """Whoever owns the host can write the line that says so; what is left tells how old it was then."""
    aged(tmp_path)
    own = trail(tmp_path, sync=False)
    Retention(own, _KEEP_S).close()
    honest = verify([tmp_path], keep_s=_KEEP_S).findings
    young = segments(tmp_path)[0]
    last = young.read_bytes().splitlines()[-1]
    through = {"through": json.loads(last)["seq"], "through_hash": hash_of(last)}
    own.record({"operation": "chain", "outcome": "expired", **through})
    young.unlink()
    own.close()

    assert honest == []
    assert verify([tmp_path]).findings == []
    (finding,) = verify([tmp_path], keep_s=_KEEP_S).findings
    assert "too early" in finding


_WRITER = """
import sys, threading
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from worker import failpoints
from worker.authority.audit import Trail, TrailKeys
failpoints.arm(sys.argv[2])
own = Trail(Path(sys.argv[1]), TrailKeys(bytes(32), Ed25519PrivateKey.generate()), "eu-central-1", segment_bytes=20_000)
own.begin()
lock = threading.Lock()
def write(name):
    for number in range(200):
        place = own.record({"operation": f"{name}/{number}"}).place
        with lock:
            print(place, flush=True)
threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
for each in threads: each.start()
for each in threads: each.join()
"""


@pytest.mark.parametrize("point", ["audit_write", "audit_flush"])
def test_a_kill_loses_no_acknowledged_entry(tmp_path: Path, point: str) -> None:
    """Killed at a write or a flush drawn by a printed seed, every entry that was acknowledged is there, unchanged."""
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    at = random.Random(seed).randrange(5, 150)
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "audit.jsonl"), f"{point}=kill@{at}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    own = trail(tmp_path)
    own.close()

    lines = [line.split() for line in done.stdout.splitlines() if line.count(" ") == 2]
    seen = [Place(chain, int(sequence), digest) for chain, sequence, digest in lines if len(digest) == 64]
    verdict = verify([tmp_path], seen)
    assert verdict.findings == []
    assert verdict.anchored == len({place.sequence for place in seen}) > 0


def run(own: DevAuthority, *arguments: str, key: str | None = None) -> list[dict[str, Any]]:
    env = {**own.env, **({} if key is None else {"CS_ADMIN_ACCESS_KEY": key})}
    result = CliRunner().invoke(authority_audit.app, [*arguments], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def test_entries_are_found_by_who_what_and_when(own: DevAuthority) -> None:
    """By client, keyset, field, operation, outcome and time, and by an auditor who may do nothing else."""
    own.create_keyset("eu/second")
    own.grant(own.env["CS_CLIENT_ID"], "eu/second")
    party(own).generate("a/b", keyset={"Name": "eu/second"})
    party(own, "_2").generate("a/c")
    auditor = access_key(own, None, "auditor")

    assert [e["client"] for e in run(own, "query", "--field", "a/b", key=auditor)] == [own.env["CS_CLIENT_ID"]]
    assert {e["operation"] for e in run(own, "query", "--keyset", "eu/second")} >= {"generate", "grant-keyset"}
    assert len(run(own, "query", "--client", own.env["CS_CLIENT_ID_2"], "--operation", "generate")) == 1
    assert run(own, "query", "--outcome", "failed") == []
    assert run(own, "query", "--until", "2020-01-01T00:00:00Z") == []
    assert len(run(own, "query", "--since", "2020-01-01T00:00:00Z", "--operation", "generate")) == 3
    assert run(own, "tail", "-n", "1")[0]["operation"] == "read-audit"
    with pytest.raises(KeyAccessDenied, match="audit:read"):
        run(own, "query", key=own.env["CS_CLIENT_ACCESS_KEY"])


def test_a_field_among_many_long_ones_is_found(own: DevAuthority) -> None:
    """Whoever asks for it between so many others that no line holds them does not hide it; others are not found."""
    first = party(own)
    names = [f"{number}/{'x' * 480}" for number in range(300)]
    iv = base64.b64encode(bytes(16)).decode()
    keys = [{"iv": iv, "descriptor": name} for name in [*names[:150], "card/number", *names[150:]]]
    first.call("generate-data-key", {"client_id": first.client_id, "keys": keys})

    def found(field: str) -> list[int]:
        return [entry["count"] for entry in own.admin("api/audit/query", {"field": field, "operation": "generate"})]

    assert found("card/number") == [301]
    assert found(names[7]) == [301]
    assert (found("card/numbe"), found("each"), found("sha256")) == ([], [], [])


def test_an_auditor_of_some_keysets_reads_no_others(own: DevAuthority) -> None:
    """A key narrowed to one keyset reads what happened with that one, whatever it asks for."""
    second = own.create_keyset("eu/second")["id"]
    own.grant(own.env["CS_CLIENT_ID"], "eu/second")
    party(own).generate("a/b")
    party(own).generate("a/b", keyset={"Name": "eu/second"})
    narrowed = access_key(own, None, "auditor", keysets=[second])

    for asked in ([], ["--field", "a/b"], ["--client", own.env["CS_CLIENT_ID"]], ["--keyset", "default"]):
        assert {e["keyset"] for e in run(own, "query", *asked, key=narrowed)} <= {second}
    assert len(run(own, "query", "--operation", "generate", key=narrowed)) == 1


def test_an_export_is_whole_in_every_form(own: DevAuthority, tmp_path: Path) -> None:
    """JSON Lines, CSV and OCSF have each entry; OCSF's events have the class's required attributes."""
    party(own).generate("=cmd()|x")
    outputs = {form: tmp_path / form for form in ("jsonl", "csv", "ocsf")}
    for form, path in outputs.items():
        run(own, "export", "--format", form, "--output", str(path))

    entries = [json.loads(line) for line in outputs["jsonl"].read_text().splitlines()]
    with outputs["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    events = [json.loads(line) for line in outputs["ocsf"].read_text().splitlines()]
    numbers = [entry["seq"] for entry in entries]
    assert numbers == sorted(set(numbers))
    assert [int(row["seq"]) for row in rows][: len(numbers)] == numbers
    assert events[: len(numbers)] == [ocsf(entry) for entry in entries]
    assert all(event.keys() >= REQUIRED for event in events)
