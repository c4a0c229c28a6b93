"""
`make bench-stages`: the stages in native memory beside what their primitives alone cost, nanoseconds of CPU a value.

The floor is a loop in Rust over the same crate (`native/examples/floor.rs`, which needs cargo): AES-256-GCM-SIV of the
same plaintexts with associated data of the same size, and SHA-256 of a key's material. The records are those of
`make bench`. Every figure is the best of many rounds; floor and stages take turns.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

from tests.bench.keys import Report, authority, client_for
from tests.bench.loop import PII, SCHEMA, datum
from tests.contract.batches import of_native
from worker.avro import DeclarationOptions, compile_schema, open_schema
from worker.encryption import BatchDecryptor, BatchEncryptor
from worker.encryption.spans import SpanSealing
from worker.model import Audit, KeySpec, Position, SourceRecord, Specs
from worker.native import extension
from worker.native.keys import KeyRun
from worker.native.split import SpanSplit
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.derive import IV_BYTES
from worker.zerokms.fresh import FreshKeys
from worker.zerokms.keys import KeyCache, RetrievedKeys

_COUNT, _ROUNDS, _TURNS = 20_000, 30, 3
_FRAME = b"\0\0\0\0\2"
_AUDIT = Audit("bench")
_ASSOCIATED_BYTES = 104
"""A lease's header here, its context and what is bound, both none."""


def floors(sizes: Sequence[int]) -> dict[str, float]:
    """Run the loop in Rust."""
    cargo = shutil.which("cargo")
    if cargo is None:
        raise SystemExit("the floor is a program in Rust: cargo is not there")
    command = [cargo, "run", "--quiet", "--release", "--locked", "--no-default-features", "--example", "floor"]
    told = subprocess.run(
        [*command, str(_ASSOCIATED_BYTES), *map(str, sizes)],
        cwd=Path(__file__).parents[2] / "native",
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(told.stdout)
    return result


def best(act: Callable[[], Callable[[], object]], values: int) -> float:
    """Return the CPU time of what `act` prepares, the least of many rounds, for one of its values."""
    least = float("inf")
    for _ in range(_ROUNDS):
        run = act()
        started = time.process_time_ns()
        run()
        least = min(least, time.process_time_ns() - started)
    return least / values


def leased(client: ZeroKMSClient) -> dict[str, float]:
    """Sealing and opening of a batch whose leases are held; nanoseconds a value, of taking apart a record."""
    schema = compile_schema(SCHEMA.read_text(), DeclarationOptions(format="leased"))
    records = [SourceRecord(Position("s", 0, n), None, _FRAME + datum(n)[5:], (), 1, 1) for n in range(_COUNT)]
    batch, none, values = of_native(records), [None] * _COUNT, _COUNT * len(PII)

    def split() -> SpanSplit:
        taken = schema.split_batch(batch, none, len(_FRAME))
        assert isinstance(taken, SpanSplit)
        return taken

    def in_one_call() -> Callable[[], object]:
        sealing = SpanSealing(split(), _FRAME, None)
        with cache.hold(sealing.needs()) as hold:
            for grant in hold:
                sealing.seal(grant.need, grant)
        return sealing.sealed

    with KeyCache(client, audit=_AUDIT) as cache:
        encryptor = BatchEncryptor(cache)
        figures = {
            "call": best(in_one_call, values),
            "stage": best(lambda: partial(encryptor.seal, [(split(), _FRAME)]), values),
            "apart": best(lambda: split, _COUNT),
        }
        (sealed,) = encryptor.seal([(split(), _FRAME)])
    reader = open_schema(schema.plan.output_schema)
    datums = [(each or b"")[len(_FRAME) :] for each in sealed.data]
    decryptor = BatchDecryptor(RetrievedKeys(client, audit=_AUDIT))
    assert not decryptor.open(reader.split_batch(datums, none)).errors
    figures["opened"] = best(lambda: partial(decryptor.open, reader.split_batch(datums, none)), values)
    return figures


def record(client: ZeroKMSClient) -> dict[str, float]:
    """A reply read, its keys derived, and a value sealed under each; nanoseconds a value."""
    count = client.keys_per_request
    asked = FreshKeys(Specs([(KeySpec(None, "bench.Customer/email"), count)]), os.urandom(IV_BYTES * count))
    exchanges, keyset = client._exchanges, client.resolve_keyset(None)
    own = exchanges.native
    assert own is not None
    call = exchanges._call("generate-data-key", keyset, asked.native_items(), count, _AUDIT, uuid4())
    reply = client._wire.post_raw(*call[:2])
    texts = extension.Texts([f"c{n:07}@mail.example" for n in range(count)])

    def keys() -> KeyRun:
        made = asked.native_keys(own, keyset, uuid4(), reply)
        assert isinstance(made, KeyRun)
        return made

    return {"derived": best(lambda: keys, count), "whole": best(lambda: lambda: texts.seal(keys().portions, 0), count)}


def main() -> int:
    """Run everything, print the table, and return 1 where a promise is broken."""
    report = Report()
    # A plaintext is Avro's: the text behind its length.
    sizes = [len(text) + 1 for text in ("Customer 0000001", "c0000001@mail.example", "+49 30 0000001")]
    with authority([]) as (env, _), client_for(env) as client:
        turns = [(floors(sizes), leased(client), record(client)) for _ in range(_TURNS)]
    floor, batch, single = ({name: min(each[name] for each in of) for name in of[0]} for of in zip(*turns, strict=True))
    bare = floor["hash"] + floor["seal_fresh"]
    report.show("leased: AES-256-GCM-SIV alone, ns a value", f"{floor['seal']:.0f}")
    report.check("leased: sealed in one call", batch["call"] / floor["seal"], 1.2, at_least=False)
    report.check("leased: the stage, from Python", batch["stage"] / floor["seal"], 1.35, at_least=False)
    report.show("leased: taken apart, ns a record", f"{batch['apart']:.0f}")
    report.check("leased: opened, from Python", batch["opened"] / floor["open"], 2.0, at_least=False)
    report.show("record: SHA-256 and AES-256-GCM-SIV with a fresh key alone, ns a value", f"{bare:.0f}")
    report.show("record: read and derived, ns a value", f"{single['derived']:.0f}")
    report.check("record: read, derived and sealed", single["whole"] / bare, 1.5, at_least=False)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
