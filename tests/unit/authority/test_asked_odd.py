"""Requests for keys as nobody would write them: what is read natively is what the models say, or is left to them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from tests.unit.authority.test_asked import CALLER, HASHED, MAKERS, body, items, made_of, told
from worker.authority import asked, decoding, reading, wire
from worker.authority.asked import Asked, NativeAsked, PlainAsked
from worker.authority.refusal import Refusal
from worker.native import IS_LOADED

pytestmark = pytest.mark.skipif(not IS_LOADED, reason="without the extension there is the twin alone")

MAKER = MAKERS["plain"]
COUNT = 2500
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null|[\[\]{}:,]')
_ODD = [
    b"null", b"true", b"0", b"-0", b"-1", b"1.0", b"1e2", b"1e999", b"256", b"18446744073709551616",
    b"NaN", b"-Infinity",
    b'""', b'"\\u0000"', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\udc00\\ud800"', b'"\xff"', b'"\x01"', b'"\\x"',
    b"[]", b"{}", b"[" * 200 + b"]" * 200, b"[" * 120 + b"1" + b"]" * 120, b'{"a":1,"a":2}', b'{"a":{"b":1,"b":1}}',
    b'[{"Tag":"t"}]', b'[{"Tag":"t","Tag":"t"}]', b'[{"Tag":"\\ud800"}]',
    b'[{"IdentityClaim":"sub","identityClaim":"sub"}]',
    b'[{"Value":["a","b","c"]}]', b'[{"Value":["a",null]}]', b'{"Uuid":"00000000-0000-0000-0000-000000000009"}',
    b'{"Name":"k","Name":"k"}', b'{"\\u004eame":"k"}', b'"AAAAAAAAAAAAAAAAAAAAAA=="', b'"AAAAAAAAAAAAAAAAAAAAAB=="',
    b'"AAAAAAAAAAAAAAAAAAAAAA"', b'"AAAAAAAAAAAAAAAAAAAA\\nAA=="',
    b'"' + b"d" * 513 + b'"', b'"' + "é".encode() * 256 + b'"',
    b"[1]", b"[" + b"1," * 64 + b"1]", b'{"conditions":[{"claim":"sub"}]}',
]  # fmt: skip
_NAMES = [
    b'"iv"',
    b'"id"',
    b'"\\u0069v"',
    b'"descriptor"',
    b'"context"',
    b'"tag"',
    b'"tag_version"',
    b'"decryption_policy"',
]
_NAMES += [b'"client_id"', b'"keyset_id"', b'"dataset_id"', b'"keys"', b'"unverified_context"', b'"more"', b'"\\ud800"']


def odd(drawn: random.Random, data: bytes) -> bytes:
    """Change a body in one to three places."""
    for _ in range(drawn.randint(1, 3)):
        found = list(_TOKEN.finditer(data))
        at = drawn.choice(found)
        before, token, after = data[: at.start()], at.group(), data[at.end() :]
        kind = drawn.randrange(6)
        if kind == 0:
            data = before + drawn.choice(_ODD) + after
        elif kind == 1:
            data = before + drawn.choice(_NAMES) + after
        elif kind == 2:
            data = (
                before
                + drawn.choice(_NAMES)
                + b":"
                + drawn.choice([b"null", drawn.choice(_ODD)])
                + b","
                + token
                + after
            )
        elif kind == 3:
            data = (
                before
                + drawn.choice([b"", b" ", b"\t\r\n", b"\x00", b"\xef\xbb\xbf", b"/**/", token + token])
                + token
                + after
            )
        elif kind == 4:
            data = before + after
        else:
            data += drawn.choice([b" ", b"x", b"{}", b"\x00", data, b",", b"]"])
    return data


def outcome(read: Callable[[], Asked]) -> Any:
    """What becomes of a body: what it is read as, what is derived, or that it is refused."""
    try:
        wanted = read()
    except (ValidationError, Refusal):
        return "refused"
    head = wanted.head.model_dump(exclude={"keys"})
    said = head, len(wanted), dict(wanted.descriptors), wanted.hashes(HASHED)
    try:
        if isinstance(wanted.head, wire.Retrieve):
            return said, told(wanted.retrieve(CALLER, MAKER, fallible=True)[1])
        return said, told(wanted.generate(CALLER, MAKER))
    except Refusal as refusal:
        return said, refusal.status, refusal.reason


def bodies() -> dict[type[wire.Generate | wire.Retrieve], bytes]:
    """A good body of each kind."""
    return {wire.Generate: orjson.dumps(body(items(3))), wire.Retrieve: orjson.dumps(body(made_of(items(3), MAKER)))}


def test_odd_bodies_are_read_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeated names, numbers, escapes, half characters, nesting, tails: read alike, or refused."""
    monkeypatch.setattr("os.urandom", lambda n: bytes(i % 251 for i in range(n)))
    monkeypatch.setattr("time.sleep", lambda _s: None)
    native = 0
    for model, whole in bodies().items():
        for seed in range(COUNT):
            data = odd(random.Random(seed), whole)

            def natively(model: Any = model, data: bytes = data) -> Asked:
                nonlocal native
                read = reading.read(model, data)
                native += isinstance(read, NativeAsked)
                return asked.asked(read)

            def plainly(model: Any = model, data: bytes = data) -> Asked:
                return PlainAsked(model.model_validate(decoding.parse(data)))

            def apart(model: Any = model, data: bytes = data) -> Asked:
                return asked.asked(reading.read_apart(model, [data[:50], data[50:]]))

            expected = outcome(plainly)
            assert outcome(natively) == expected, (model.__name__, seed, data)
            assert outcome(apart) == expected, (model.__name__, seed, data)
    assert native > COUNT // 20
