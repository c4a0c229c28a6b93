"""Behind one public address the own authority and one that was replaced answer in turns: no key of the wrong one."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.balancer import Balancer
from tests.components import Kafka
from tests.conftest import DatabaseFactory
from tests.deployment import Deployment
from tests.fakes.canaries import CanaryMemory
from tests.integration.test_swapped_authority import restore_wrongly
from tests.program import worker
from tests.running import Running, arrived, produce, until
from worker.app import Worker
from worker.authority.dev import DevAuthority
from worker.authority.limits import LimitOptions
from worker.authority.server import AuthorityOptions
from worker.avro import DeclarationOptions, compile_schema
from worker.canary.guard import GuardedKeyService
from worker.canary.keyset import Canaries
from worker.demo.customers import SCHEMA
from worker.errors import CanaryError
from worker.model import Audit, DataKey, KeySpec, RetrieveRequest
from worker.zerokms.client import ZeroKMSClient
from worker.zerokms.factory import client_from_environment, local_hosts
from worker.zerokms.keys import KeyCache, KeyOptions
from worker.zerokms.options import ClientOptions
from worker.zerokms.resilient import resilient

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]
REGION = "eu-central-1"
OWN, WRONG = 0, 1
AUDIT = Audit("test")
ROUNDS = 60
KEYS = 4


@dataclass(frozen=True, slots=True)
class Stand:
    """Two authorities with the same clients and tokens and other secrets, behind one address."""

    balancer: Balancer
    own: DevAuthority

    def client(self, *, direct: bool = False) -> ZeroKMSClient:
        """A client of the public address, or of the own authority alone."""
        hosts = dict.fromkeys(("CS_CTS_HOST", "CS_ZEROKMS_HOST"), self.own.url if direct else self.balancer.url)
        environ = {**self.own.env, **hosts}
        return client_from_environment(environ, allow_hosts=(*local_hosts(self.own.env), *local_hosts(environ)))

    def gives_again(self, keys: list[DataKey]) -> int:
        """How many keys the own authority gives again."""
        asked = [RetrieveRequest(k.keyset, k.iv, k.tag, k.descriptor) for k in keys]
        with contextlib.closing(self.client(direct=True)) as client:
            again = client.retrieve(asked, AUDIT)
        return sum(
            isinstance(found, DataKey) and found.secret == key.secret for key, found in zip(keys, again, strict=True)
        )


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    """The own authority alone answers, until a test lets the other one in."""
    with DevAuthority(REGION, tmp_path / "own"):
        pass
    shutil.copytree(tmp_path / "own", tmp_path / "wrong")
    with (
        Balancer(lambda: OWN) as balancer,
        DevAuthority(REGION, tmp_path / "own", public_url=balancer.url) as own,
        restore_wrongly(tmp_path / "wrong", public_url=balancer.url) as wrong,
    ):
        balancer.servers += [own.url, wrong.url]
        yield Stand(balancer, own)


@pytest.mark.parametrize("turns", ["random", "alternating"])
def test_no_key_of_the_wrong_authority_is_handed_out(stand: Stand, turns: str) -> None:
    """Whatever was handed out the own authority gives again; without the guard, half of it would be lost."""
    with contextlib.closing(stand.client()) as client:
        canaries = Canaries(client, resolve=client.resolve_keyset, store=CanaryMemory(), instance="test")
        guard = GuardedKeyService(
            client, canaries.check, canaries.vouch, keys_per_request=lambda: client.keys_per_request
        )
        specs = [KeySpec(None, "users/email")] * KEYS
        handed = list(guard.generate(specs, AUDIT))
        rng, order = random.Random(11), iter(range(10**6))
        stand.balancer.choose = (lambda: rng.randrange(2)) if turns == "random" else (lambda: next(order) // 3 % 2)
        refused = 0
        for _ in range(ROUNDS):
            try:
                handed += guard.generate(specs, AUDIT)
            except CanaryError:
                refused += 1
        bare = [key for _ in range(6) for key in client.generate(specs, AUDIT)]

    asked = [place for path, place in stand.balancer.served if path == "/generate-data-key"]
    assert asked.count(WRONG) > ROUNDS // 4
    assert refused > ROUNDS // 4
    assert len(handed) > KEYS
    assert stand.gives_again(handed) == len(handed)
    assert 0 < stand.gives_again(bare) < len(bare)


def test_no_index_key_of_the_wrong_authority_is_used(stand: Stand) -> None:
    """The first one's check value refuses every other, whoever opened the canary."""
    with contextlib.closing(stand.client()) as client:
        canaries = Canaries(client, resolve=client.resolve_keyset, store=CanaryMemory(), instance="test")
        first = client.load_keyset(None, fresh=True)
        canaries.check_index(first)
        order = iter(range(10**6))
        stand.balancer.choose = lambda: next(order) % 2
        found, refused = set(), 0
        for _ in range(8):
            loaded = client.load_keyset(None, fresh=True)
            try:
                canaries.check_index(loaded)
                found.add(loaded.index_key)
            except CanaryError:
                refused += 1

    assert found == {first.index_key}
    assert refused == 4


def test_a_worker_stops_and_everything_that_it_wrote_opens(
    stand: Stand, kafka: Kafka, new_database: DatabaseFactory, tmp_path: Path
) -> None:
    """A whole worker, every key asked for anew: it ends with the canary's error, and the own authority opens all."""
    env = {**stand.own.env, "CS_CTS_HOST": stand.balancer.url, "CS_ZEROKMS_HOST": stand.balancer.url}
    own_host = stand.own.url.split("/")[2]
    site = Deployment(
        kafka=kafka, dsn=new_database(region=REGION), authority=env, directory=tmp_path, hosts=(own_host,)
    )
    site.prepare()
    schema_id = produce(site, 1, 50)
    with (
        Worker(site.load(schema_id, changes="[keys]\nmax_age_s = 0\n"), site.environ) as running,
        Running(running) as run,
    ):
        until(lambda: arrived(site, 50), "the first records arrive")
        rng = random.Random(7)
        stand.balancer.choose = lambda: rng.randrange(2)
        # Keys of the right one pass now and then: records go on coming until the wrong one has answered.
        for seed in range(2, 40):
            produce(site, seed, 10)
            with contextlib.suppress(AssertionError):
                run.ended(1)
                break
        error = run.ended()

    stand.balancer.choose = lambda: OWN
    output = tmp_path / "output.avsc"
    output.write_text(compile_schema(SCHEMA, DeclarationOptions()).plan.output_schema, encoding="utf-8")
    settings = str(site.settings(schema_id))
    written = len(site.read(site.sink))
    opened = worker(site.environ, "decrypt", "--config", settings, "--topic", site.sink, "--schema", str(output))

    assert isinstance(error, CanaryError)
    assert opened.returncode == 0, opened.stderr[-2000:]
    assert len([json.loads(line) for line in opened.stdout.splitlines()]) == written >= 50


@pytest.mark.parametrize(("own", "expected"), [(None, 9), (50, 21)])
def test_a_cache_fills_requests_to_what_the_authority_takes(tmp_path: Path, own: int | None, expected: int) -> None:
    """It says how many, of which one is the witness; the settings may ask for less. No request is refused or split."""
    options = AuthorityOptions(limits=LimitOptions(keys_per_request=120))
    with (
        DevAuthority(REGION, tmp_path, options=options) as authority,
        client_from_environment(
            authority.env, allow_hosts=("127.0.0.1",), options=ClientOptions(keys_per_request=own)
        ) as client,
    ):
        canaries = Canaries(client, resolve=client.resolve_keyset, store=CanaryMemory(), instance="test")
        canaries.check(None)
        guard = GuardedKeyService(
            client, canaries.check, canaries.vouch, keys_per_request=lambda: client.keys_per_request
        )
        before = made(authority)
        with KeyCache(resilient(guard), options=KeyOptions(keys_per_request=own), audit=AUDIT) as cache:
            keys = cache.take(KeySpec(None, "users/email"), 1_000)

        assert len(keys) == 1_000
        assert made(authority) - before == expected


def made(authority: DevAuthority) -> float:
    """How many requests for fresh keys were answered."""
    labels = {"region": REGION, "endpoint": "generate-data-key", "status": "200"}
    return authority.authority.metrics.registry.get_sample_value("authority_requests_total", labels) or 0.0
