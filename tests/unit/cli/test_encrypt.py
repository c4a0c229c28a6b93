"""`worker encrypt` and what `worker decrypt -` makes of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.program import said, worker
from worker.sdk import Encryption

FIELD = "acme.crm.Customer/email"


def run(env: Mapping[str, str], *args: str, text: str = "") -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CS_", "WORKER_"))}
    return said({**kept, **env}, *args, given=text, timeout_s=55)


def test_values_go_and_come_back(authority: dict[str, str]) -> None:
    """Lines of standard input become envelopes, one a line, in text that both the command and the SDK read."""
    sealed = run(authority, "encrypt", "--field", FIELD, text="ann@x\nbob@x\n")
    leased = run(authority, "encrypt", "--field", FIELD, "--format", "leased", "cid@x")
    both = sealed.stdout + leased.stdout

    opened = run(authority, "decrypt", "-", "--field", FIELD, text=both)
    wrong = run(authority, "decrypt", "-", "--field", "acme.crm.Customer/name", text=sealed.stdout + "what\n")

    assert [json.loads(line)["value"] for line in opened.stdout.splitlines()] == ["ann@x", "bob@x", "cid@x"]
    assert (opened.returncode, wrong.returncode) == (0, 1)
    assert [json.loads(line)["code"] for line in wrong.stdout.splitlines()] == [
        "decryption_failed",
        "decryption_failed",
        "not_an_envelope",
    ]
    with Encryption.from_env(environ=authority) as encryption:
        assert encryption.decrypt(sealed.stdout.splitlines()[0], field=FIELD) == "ann@x"


def test_lines_of_windows_are_the_values_alone(authority: dict[str, str]) -> None:
    """With a carriage return or a byte-order mark no search would find them again; blanks are somebody's own."""
    sealed = run(authority, "encrypt", "--field", FIELD, text="\ufeffann@x\r\n bob@x \r\n")

    opened = run(authority, "decrypt", "-", "--field", FIELD, text=sealed.stdout)

    assert [json.loads(line)["value"] for line in opened.stdout.splitlines()] == ["ann@x", " bob@x "]


def test_values_of_any_type_go_as_they_are_printed(authority: dict[str, str], tmp_path: Path) -> None:
    """What `decrypt -` prints with a schema is what `encrypt` takes with it."""
    schema = tmp_path / "amount.avsc"
    schema.write_text('{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}')
    described = ("--field", "acme.crm.Order/amount", "--schema", str(schema))

    sealed = run(authority, "encrypt", *described, text='"12.30"\n-0.05\n')
    refused = run(authority, "encrypt", *described, "twelve")
    opened = run(authority, "decrypt", "-", *described, text=sealed.stdout)

    assert [json.loads(line)["value"] for line in opened.stdout.splitlines()] == ["12.30", "-0.05"]
    assert refused.returncode == 2
    assert "value 0, which is JSON as `worker decrypt` prints it: it is no JSON" in refused.stderr


def test_a_line_that_is_no_text_is_named(authority: dict[str, str]) -> None:
    """By its number alone; the lines before it are done."""
    done = worker(authority, "encrypt", "--field", FIELD, given=b"ann@x\nb\xffb\n", timeout_s=55)

    assert (done.returncode, len(done.stdout.splitlines())) == (2, 1)
    assert b"value 1 is no text in UTF-8" in done.stderr


def test_an_envelope_that_is_no_text_fails_alone(authority: dict[str, str]) -> None:
    """As any other line that is no envelope; the mark at the beginning of a file of Windows is no part of one."""
    sealed = worker(authority, "encrypt", "--field", FIELD, given=b"ann@x\n", timeout_s=55).stdout

    done = worker(
        authority,
        "decrypt",
        "-",
        "--field",
        FIELD,
        given=b"\xef\xbb\xbf" + sealed + b"\xff\xfe\n" + sealed,
        timeout_s=55,
    )

    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("value", line.get("code")) for line in found] == ["ann@x", "not_an_envelope", "ann@x"]


def test_values_of_a_type_are_json(authority: dict[str, str], tmp_path: Path) -> None:
    """With a schema each line is a JSON value of it."""
    schema = tmp_path / "type.avsc"
    schema.write_text('{"type": "array", "items": "int"}')
    options = ("--field", "a/b", "--schema", str(schema))

    sealed = run(authority, "encrypt", *options, text="[1, 2]\n")
    opened = run(authority, "decrypt", "-", *options, "--format", "table", text=sealed.stdout)
    broken = run(authority, "encrypt", *options, "what")

    assert "[1,2]" in opened.stdout
    assert (broken.returncode, "no JSON" in broken.stderr, "what" in broken.stderr) == (2, True, False)


def test_a_file_goes_and_comes_back(authority: dict[str, str], tmp_path: Path) -> None:
    """Whole, as one envelope of its bytes."""
    plain, sealed, back = (tmp_path / name for name in ("plain", "sealed", "back"))
    plain.write_bytes(os.urandom(100_000))

    made = run(authority, "encrypt", "--field", "a/file", "--file", str(plain), "--out", str(sealed))
    opened = run(authority, "decrypt", str(sealed), "--field", "a/file", "--out", str(back))
    without = run(authority, "decrypt", str(sealed))

    assert (made.returncode, opened.returncode, made.stderr, opened.stderr) == (0, 0, "", "")
    assert back.read_bytes() == plain.read_bytes()
    assert plain.read_bytes()[:64] not in sealed.read_bytes()
    assert (without.returncode, "--field" in without.stderr) == (2, True)


def test_says_what_is_missing(authority: dict[str, str]) -> None:
    """A source, a region's credentials, a database, a field."""
    for args, word in (
        (("decrypt",), "--topic"),
        (("decrypt", "-"), "--field"),
        (("decrypt", "--table", "t", "--schema", "/nonexistent"), "can't be read"),
        (("decrypt", "-", "--field", "a/b", "--region", "us-east-1"), "no credentials of us-east-1"),
        (("decrypt", "--topic", "t", "--from", "soon"), "--from"),
        (("decrypt", "--topic", "t", "--where-field", "x"), "name=value"),
        (("encrypt", "--field", "a/b", "--format", "x", "v"), "record or leased"),
        (("encrypt", "--field", "a/b", "--file", "x"), "--out"),
    ):
        told = run(authority, *args)
        assert (told.returncode, word in told.stderr) == (2, True), told.stderr
