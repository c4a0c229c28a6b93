"""
The SDK beside the published client, in one run against one authority in a process of its own (`make bench-sdk`).

What is printed: values a second of bulk calls in the format that both speak (`record`) and in `leased`, of single calls
by threads and tasks beside one caller's in the same round, and of a table's column beside the worker's own decryption.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa

from tests.bench.keys import authority
from tests.bench.latency import cpu_of
from tests.bench.sdk_calls import singles
from worker import Encryption, output_schema
from worker.avro import OutputSchema, open_schema
from worker.encryption import BatchDecryptor
from worker.model import Format
from worker.sdk.columns import Column
from worker.sdk.keyring import KeyCall, Keyring
from worker.sdk.scope import Scope

FIELD = "users/email"
_SCHEMA = json.dumps(
    {
        "type": "record",
        "name": "users",
        "fields": [{"name": "email", "type": "string", "encrypted": {"format": "leased"}}],
    }
)
PACKAGE = "@cipherstash/protect-ffi@0.32.0"
_SCRIPT = """
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
const require = createRequire(process.argv[2] + "/");
const ffi = require("@cipherstash/protect-ffi");
const count = Number(process.argv[3]);
const options = JSON.parse(process.env.BENCH_CLIENT);
const encryptConfig = { v: 1, tables: { users: { email: { cast_as: "text", indexes: {} } } } };
const client = await ffi.newClient({ encryptConfig, clientOpts: options });
const values = [];
for (let i = 0; i < count; i++) values.push({ plaintext: `customer${i}@example.com`, table: "users", column: "email" });
await ffi.encryptBulk(client, { plaintexts: values.slice(0, 1000) });
let sealed = [];
const calls = {
  encrypt: async () => { sealed = await ffi.encryptBulk(client, { plaintexts: values }); },
  decrypt: () => ffi.decryptBulk(client, { ciphertexts: sealed.map((ciphertext) => ({ ciphertext })) }),
};
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const before = process.cpuUsage();
  const start = performance.now();
  await calls[line]();
  const took = (performance.now() - start) / 1000;
  const used = process.cpuUsage(before);
  console.log(JSON.stringify({ rate: count / took, cpu: (used.user + used.system) / 1e6 }));
}
"""
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Done:
    """One call of many values: values a second, and the caller's and the authority's seconds of CPU."""

    rate: float
    cpu: float
    authority: float


def cpu_of_authority() -> float:
    """Seconds of CPU that the authority's process, a child of this one, has used so far."""
    me = os.getpid()
    children = Path(f"/proc/self/task/{me}/children").read_text(encoding="ascii").split()
    return sum(cpu_of(int(pid)) for pid in children if "tests.bench.far" in Path(f"/proc/{pid}/cmdline").read_text())


def rate(count: int, call: Callable[[], Any]) -> float:
    """Values a second of one call."""
    start = time.perf_counter()
    call()
    return count / (time.perf_counter() - start)


@contextmanager
def published(env: Mapping[str, str], directory: Path, count: int) -> Iterator[Callable[[str], Done] | None]:
    """Run the published client; yields what makes it encrypt or decrypt, None where it can't be installed."""
    npm, node = shutil.which("npm"), shutil.which("node")
    install = [npm or "", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), PACKAGE]
    if npm is None or node is None or subprocess.run(install, check=False, capture_output=True).returncode:
        yield None
        return
    script = directory / "bench.mjs"
    script.write_text(_SCRIPT)
    options = {
        "workspaceCrn": env["CS_WORKSPACE_CRN"],
        "accessKey": env["CS_CLIENT_ACCESS_KEY"],
        "clientId": env["CS_CLIENT_ID"],
        "clientKey": env["CS_CLIENT_KEY"],
    }
    hosts = {name: env[name] for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")}
    variables = {"PATH": os.environ["PATH"], "HOME": str(directory), "BENCH_CLIENT": json.dumps(options), **hosts}
    command = [node, str(script), str(directory), str(count)]
    with subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        stdin, stdout = running.stdin, running.stdout
        assert stdin is not None
        assert stdout is not None
        assert stdout.readline() == "ready\n"

        def call(operation: str) -> Done:
            before = cpu_of_authority()
            stdin.write(f"{operation}\n")
            stdin.flush()
            found = json.loads(stdout.readline())
            return Done(found["rate"], found["cpu"], cpu_of_authority() - before)

        yield call
        stdin.close()


def bulk(encryption: Encryption, count: int) -> Iterator[tuple[str, Done]]:
    """Bulk calls, in both formats."""
    values = [f"customer{i}@example.com" for i in range(count)]
    made: dict[str, list[Any]] = {}

    def timed(call: Callable[[], list[Any]]) -> Done:
        cpu, far, started = time.process_time(), cpu_of_authority(), time.perf_counter()
        made["last"] = call()
        took = time.perf_counter() - started
        return Done(count / took, time.process_time() - cpu, cpu_of_authority() - far)

    formats: tuple[Format, ...] = ("record", "leased")
    for chosen in formats:
        yield f"encrypt {chosen}", timed(partial(encryption.encrypt_many, values, field=FIELD, format=chosen))
        sealed = made["last"]
        yield f"decrypt {chosen}", timed(partial(encryption.decrypt_many, sealed, field=FIELD))
        assert made["last"] == values


def beside(env: Mapping[str, str], directory: Path, count: int) -> None:
    """Print bulk calls beside the published client's, in turns; each figure is the median of the rounds."""
    ours: dict[str, list[Done]] = {}
    theirs: dict[str, list[Done]] = {}
    with Encryption.from_env(environ=env, cache=None) as encryption, published(env, directory, count) as other:
        encryption.encrypt_many(["warm"] * 1000, field=FIELD)
        for _ in range(_ROUNDS):
            for what, done in bulk(encryption, count):
                ours.setdefault(what, []).append(done)
            for what in ("encrypt", "decrypt") if other is not None else ():
                theirs.setdefault(what, []).append(other(what) if other is not None else done)
    for what, rounds in ours.items():
        line = f"{what:<24} {median(d.rate for d in rounds):>12,.0f} values/s  {_cpu(rounds)}"
        opposite = theirs.get(what.split()[0])
        if opposite is not None:
            rates, cpus = zip(rounds, opposite, strict=True), zip(rounds, opposite, strict=True)
            line += f"  {median(a.rate / b.rate for a, b in rates):5.2f} x the published client's values/s"
            line += f", {median(b.cpu / a.cpu for a, b in cpus):4.1f} x its values a CPU second"
        print(line)
    for what, rounds in theirs.items():
        print(f"{'published, ' + what:<24} {median(d.rate for d in rounds):>12,.0f} values/s  {_cpu(rounds)}")
        least = median(d.authority for d in ours[f"{what} record"])
        print(f"{'':<24} {count / least:>12,.0f} values/s are all that one core of the authority gives ({what})")


def _cpu(rounds: Sequence[Done]) -> str:
    return f"CPU s: {median(d.cpu for d in rounds):.2f} client, {median(d.authority for d in rounds):.2f} authority"


def table(env: Mapping[str, str], count: int) -> tuple[float, float, float]:
    """
    A column of leased values: the SDK's table, and the worker's own decryption of the same, in turns.

    Returns:
        The medians of both rates, and of the rounds' own shares.
    """
    columns = {"email": Column(field=FIELD)}
    plain = pa.table({"email": [f"customer{i}@example.com" for i in range(count)]})
    rounds: list[tuple[float, float]] = []
    with Encryption.from_env(environ=env) as encryption:
        sealed = encryption.encrypt_table(plain, columns=columns)
        assert encryption.decrypt_table(sealed, columns=columns).equals(plain)
        datums = encryption.encrypt_records([{"email": value} for value in plain.column(0).to_pylist()], schema=_SCHEMA)
        reader = open_schema(output_schema(_SCHEMA))
        keyring: Keyring = encryption._keyring
        for _ in range(_ROUNDS):
            sdk = rate(count, partial(encryption.decrypt_table, sealed, columns=columns))
            with keyring.call(Scope("decrypt")) as call:
                own = rate(count, partial(_opened, reader, datums, call))
            rounds.append((sdk, own))
    sdks, owns = zip(*rounds, strict=True)
    return median(sdks), median(owns), median(sdk / own for sdk, own in rounds)


def _opened(reader: OutputSchema, datums: Sequence[bytes], keys: KeyCall) -> None:
    BatchDecryptor(keys).open(reader.split_batch(datums, [None] * len(datums)))


def main() -> None:
    """Run it and print a table of rates."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--values", type=int, default=100_000)
    arguments.add_argument("--calls", type=int, default=6_000)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, authority([]) as (env, _):
        beside(env, Path(name), given.values)
        for single in singles(env, given.calls, _ROUNDS):
            print(f"{single.what:<24} {single.rate:>12,.0f} calls/s   {single.share:5.1f} x one caller's")
        sdk, own, share = table(env, given.rows)
        print(f"{'decrypt_table':<24} {sdk:>12,.0f} values/s  {share:5.2f} x the worker's own rate, {own:,.0f}")


if __name__ == "__main__":
    main()
