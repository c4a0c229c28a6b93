"""
The SDK beside the published client, in one run against one authority in a process of its own (`make bench-sdk`).

What is printed: values a second of bulk calls in the format that both speak (`record`) and in `leased`, of single calls
by threads and tasks beside one caller's, and of a table's column beside the worker's own decryption.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tests.bench.keys import authority
from worker import AsyncEncryption, Encryption, output_schema
from worker.avro import open_schema
from worker.encryption import BatchDecryptor
from worker.model import Format
from worker.sdk.columns import Column
from worker.sdk.keyring import Keyring
from worker.sdk.scope import Scope

FIELD = "users/email"
_OWN = "the worker's own"
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
const require = createRequire(process.argv[2] + "/");
const ffi = require("@cipherstash/protect-ffi");
const count = Number(process.argv[3]);
const options = JSON.parse(process.env.BENCH_CLIENT);
const encryptConfig = { v: 1, tables: { users: { email: { cast_as: "text", indexes: {} } } } };
const client = await ffi.newClient({ encryptConfig, clientOpts: options });
const values = [];
for (let i = 0; i < count; i++) values.push({ plaintext: `customer${i}@example.com`, table: "users", column: "email" });
await ffi.encryptBulk(client, { plaintexts: values.slice(0, 1000) });
let start = performance.now();
const sealed = await ffi.encryptBulk(client, { plaintexts: values });
const encrypt = count / ((performance.now() - start) / 1000);
start = performance.now();
await ffi.decryptBulk(client, { ciphertexts: sealed.map((ciphertext) => ({ ciphertext })) });
const decrypt = count / ((performance.now() - start) / 1000);
console.log(JSON.stringify({ encrypt, decrypt }));
"""


def rate(count: int, call: Callable[[], Any]) -> float:
    """Values a second of one call."""
    start = time.perf_counter()
    call()
    return count / (time.perf_counter() - start)


def published(env: Mapping[str, str], directory: Path, count: int) -> dict[str, float] | None:
    """What the published client does, None where it can't be installed."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return None
    install = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(directory), PACKAGE]
    if subprocess.run(install, check=False, capture_output=True).returncode:
        return None
    script = directory / "bench.mjs"
    script.write_text(_SCRIPT)
    options = {
        "workspaceCrn": env["CS_WORKSPACE_CRN"],
        "accessKey": env["CS_CLIENT_ACCESS_KEY"],
        "clientId": env["CS_CLIENT_ID"],
        "clientKey": env["CS_CLIENT_KEY"],
    }
    hosts = {name: env[name] for name in ("CS_CTS_HOST", "CS_ZEROKMS_HOST")}
    done = subprocess.run(
        [node, str(script), str(directory), str(count)],
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "BENCH_CLIENT": json.dumps(options), **hosts},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def bulk(env: Mapping[str, str], count: int) -> dict[str, float]:
    """Bulk calls, in both formats."""
    values = [f"customer{i}@example.com" for i in range(count)]
    found: dict[str, float] = {}
    with Encryption.from_env(environ=env, cache=None) as encryption:
        encryption.encrypt_many(values[:1000], field=FIELD)
        formats: tuple[Format, ...] = ("record", "leased")
        for chosen in formats:
            started = time.perf_counter()
            sealed = encryption.encrypt_many(values, field=FIELD, format=chosen)
            found[f"encrypt {chosen}"] = count / (time.perf_counter() - started)
            started = time.perf_counter()
            opened = encryption.decrypt_many(sealed, field=FIELD)
            found[f"decrypt {chosen}"] = count / (time.perf_counter() - started)
            assert opened == values
    return found


def _each(call: Callable[[int], None], count: int) -> None:
    for i in range(count):
        call(i)


def _by_threads(call: Callable[[int], None], count: int) -> None:
    todo = iter(range(count))

    def work() -> None:
        for i in todo:
            call(i)

    with ThreadPoolExecutor(64) as threads:
        for ended in [threads.submit(work) for _ in range(64)]:
            ended.result()


def singles(env: Mapping[str, str], calls: int) -> dict[str, float]:
    """Single calls: one caller's, 64 threads', 1,000 tasks'."""
    found: dict[str, float] = {}
    with Encryption.from_env(environ=env, cache=None) as encryption:
        envelopes = encryption.encrypt_many([f"v{i}" for i in range(calls)], field=FIELD)

        def one(i: int) -> None:
            encryption.encrypt(f"v{i}", field=FIELD)

        def two(i: int) -> None:
            encryption.decrypt(envelopes[i], field=FIELD)

        for name, call in (("encrypt", one), ("decrypt", two)):
            few = min(calls, 300)
            found[f"{name}, one caller"] = rate(few, partial(_each, call, few))
            found[f"{name}, 64 threads"] = rate(calls, partial(_by_threads, call, calls))

    async def tasks() -> None:
        async with AsyncEncryption.from_env(environ=env, cache=None) as wrapped:
            await wrapped.encrypt("warm", field=FIELD)
            for name in ("encrypt", "decrypt"):
                start = time.perf_counter()
                todo = iter(range(calls))

                async def work(name: str = name, todo: Iterator[int] = todo) -> None:
                    for i in todo:
                        if name == "encrypt":
                            await wrapped.encrypt(f"v{i}", field=FIELD)
                        else:
                            await wrapped.decrypt(envelopes[i], field=FIELD)

                await asyncio.gather(*(work() for _ in range(1000)))
                found[f"{name}, 1,000 tasks"] = calls / (time.perf_counter() - start)

    asyncio.run(tasks())
    return found


def table(env: Mapping[str, str], count: int) -> dict[str, float]:
    """A column of leased values: the SDK's table, and the worker's own decryption of the same."""
    columns = {"email": Column(field=FIELD)}
    plain = pa.table({"email": [f"customer{i}@example.com" for i in range(count)]})
    with Encryption.from_env(environ=env) as encryption:
        sealed = encryption.encrypt_table(plain, columns=columns)
        opened: list[Any] = []
        sdk = rate(count, lambda: opened.append(encryption.decrypt_table(sealed, columns=columns)))
        assert opened[0].equals(plain)
        datums = encryption.encrypt_records([{"email": value} for value in plain.column(0).to_pylist()], schema=_SCHEMA)
        reader = open_schema(output_schema(_SCHEMA))
        keyring: Keyring = encryption._keyring
        with keyring.call(Scope("decrypt")) as call:
            own = rate(count, lambda: BatchDecryptor(call).open(reader.split_batch(datums, [None] * count)))
    return {"decrypt_table": sdk, _OWN: own}


def main() -> None:
    """Run it and print a table of rates."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--values", type=int, default=100_000)
    arguments.add_argument("--calls", type=int, default=20_000)
    arguments.add_argument("--rows", type=int, default=1_000_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, authority([]) as (env, _):
        ours = bulk(env, given.values)
        theirs = published(env, Path(name), given.values)
        for what, values in ours.items():
            beside = "" if theirs is None else f"  {values / theirs[what.split()[0]]:5.2f} x the published client's"
            print(f"{what:<24} {values:>12,.0f} values/s{beside}")
        if theirs is not None:
            print(
                f"the published client     encrypt {theirs['encrypt']:,.0f}, decrypt {theirs['decrypt']:,.0f} values/s"
            )
        alone: dict[str, float] = {}
        for what, values in singles(env, given.calls).items():
            operation = what.partition(",")[0]
            alone.setdefault(operation, values)
            print(f"{what:<24} {values:>12,.0f} calls/s   {values / alone[operation]:5.1f} x one caller's")
        rates = table(env, given.rows)
        for what, values in rates.items():
            print(f"{what:<24} {values:>12,.0f} values/s")
        print(f"{'decrypt_table':<24} {rates['decrypt_table'] / rates[_OWN]:.2f} x")


if __name__ == "__main__":
    main()
