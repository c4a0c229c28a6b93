"""A catalogue of mistakes that show before anything is reached: what is said of each, and how the command ends."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.mistakes.program import Program

ROOT = Path(__file__).resolve().parents[2]
_VECTORS = json.loads((ROOT / "tests/vectors/zerokms.json").read_text())
KEY = str(_VECTORS["key_algebra"][0]["client_key_hex_v1"])
PASSWORD = "hunter2-hunter2"
CREDENTIALS = {
    "CS_WORKSPACE_CRN": "crn:eu-central-1.aws:ZVATKW3VHMFG27DY",
    "CS_CLIENT_ID": "0f3c1c7e-6f5b-4b9a-9a58-0b6a52d9a001",
    "CS_CLIENT_KEY": KEY,
    "CS_CLIENT_ACCESS_KEY": "CSAKAAAA.BBBBCCCCDDDD",
    "CS_CTS_HOST": "http://127.0.0.1:1/",
}
SCHEMA = {
    "type": "record",
    "name": "Customer",
    "namespace": "acme.crm",
    "fields": [{"name": "id", "type": "long"}, {"name": "email", "type": "string", "encrypted": True}],
}
# No port below answers: what is refused here is refused before anything is asked.
FILE = """
region = "eu-central-1"
[authority]
allow_hosts = ["127.0.0.1:1"]
[kafka]
bootstrap = "127.0.0.1:1"
cluster_id = "abc"
[schemas]
local = { "1" = { input = "customer.avsc", output_id = 1001 } }
[[routes]]
name = "customers"
group = "g"
source = { topics = ["customers"] }
sink = { kind = "kafka", topic = "customers.enc" }
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """
    Something that was got wrong.

    Args:
        name: what it is.
        says: patterns, each of which the message matches: what, where, what to do.
        code: the exit code.
        change: what in the file is replaced by what.
        environ: variables besides the credentials; an empty one is unset.
        arguments: the command; `check` of the file if not given.
        schema: what stands in place of the schema's file.
        encodings: of the settings and of the schema.
    """

    name: str
    says: tuple[str, ...]
    code: int = 2
    change: tuple[str, str] = ("", "")
    environ: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("check", "--config", "worker.toml")
    schema: object = field(default_factory=lambda: SCHEMA)
    encodings: tuple[str, str] = ("utf-8", "utf-8")


RUN = ("run", "--config", "worker.toml", "--set", 'http.listen="127.0.0.1:0"')
PLAN = ("plan", "customer.avsc")
PLAN_OF_ROUTE = (*PLAN, "--config", "worker.toml")


def without(name: str) -> dict[str, object]:
    return {**SCHEMA, "fields": [f for f in SCHEMA["fields"] if f["name"] != name]}  # type: ignore[index]


def email(**declared: object) -> dict[str, object]:
    return {**SCHEMA, "fields": [{"name": "id", "type": "long"}, {"name": "email", "type": "string", **declared}]}


MISTAKES = [
    Mistake(
        name="a section is misspelt",
        change=("[schemas]", "[keyz]\n[schemas]"),
        says=("worker.toml", "keyz: there is no such setting", "did you mean keys?"),
    ),
    Mistake(
        name="a setting is misspelt in the file",
        change=("[schemas]", "[keys]\nmax_age = 5\n[schemas]"),
        says=("worker.toml", r"keys\.max_age: ", r"did you mean max_age_s\?"),
    ),
    Mistake(
        name="a setting is misspelt with --set",
        arguments=(*RUN, "--set", "delivery.mod=at-least-once"),
        says=(r"delivery\.mod \(--set delivery\.mod\)", r"did you mean mode\?"),
    ),
    Mistake(
        name="a setting is misspelt in the environment",
        environ={"WORKER_KEYS__MAX_AGES": "3"},
        says=(r"keys\.max_ages \(environment variable WORKER_KEYS__MAX_AGES\)", r"did you mean max_age_s\?"),
    ),
    Mistake(
        name="a variable has the settings' prefix and is none",
        environ={"WORKER_KEYZ__MAX_AGE_S": "3"},
        says=("environment variable WORKER_KEYZ__MAX_AGE_S", r"did you mean WORKER_KEYS__MAX_AGE_S\?"),
    ),
    Mistake(
        name="a variable has one underscore between section and setting",
        environ={"WORKER_KEYS_MAX_AGE_S": "3"},
        says=("environment variable WORKER_KEYS_MAX_AGE_S", r"did you mean WORKER_KEYS__MAX_AGE_S\?"),
    ),
    Mistake(
        name="a section comes as a variable and is no JSON",
        environ={"WORKER_ROUTES": "customers"},
        says=("environment variable WORKER_ROUTES", "JSON"),
    ),
    Mistake(
        name="a setting stands under another section",
        change=("[schemas]", "[keys]\nmax_latency_ms = 5\n[schemas]"),
        says=(r"keys\.max_latency_ms", r"it stands under \[delivery\]"),
    ),
    Mistake(
        name="a setting of a route is misspelt",
        change=('topics = ["customers"]', 'topics = ["customers"], strat = "latest"'),
        says=(r"routes\.0\.source\.strat \(route customers\)", r"did you mean start\?"),
    ),
    Mistake(
        name="a required setting is missing",
        change=('cluster_id = "abc"\n', ""),
        says=(r"kafka\.cluster_id: is missing", r"--set kafka\.cluster_id=", "WORKER_KAFKA__CLUSTER_ID"),
    ),
    Mistake(
        name="a number is text",
        change=("[schemas]", f'[keys]\nmax_age_s = "{PASSWORD}"\n[schemas]'),
        says=(r"keys\.max_age_s: ", "valid number"),
    ),
    Mistake(
        name="a word is none of those there are",
        change=("[schemas]", '[delivery]\nmode = "exactly-twice"\n[schemas]'),
        says=(r"delivery\.mode: ", "'exactly-once' or 'at-least-once'"),
    ),
    Mistake(
        name="a sink is of no kind",
        change=('kind = "kafka"', 'kind = "mysql"'),
        says=(r"routes\.0\.sink \(route customers\)", "'kafka', 'postgres'"),
    ),
    Mistake(
        name="the file is not there",
        arguments=("check", "--config", "wroker.toml"),
        says=(r"wroker\.toml can't be read: No such file",),
    ),
    Mistake(name="the file is no TOML", change=("[kafka]", "[kafka"), says=("worker.toml: is not TOML", "line 5")),
    Mistake(
        name="the file is YAML",
        change=(FILE, "# ours\nregion: eu-central-1\nkafka:\n  bootstrap: x:1\n"),
        says=("worker.toml: is not TOML", "line 2", "it is YAML", "worker config template"),
    ),
    Mistake(name="the file is JSON", change=(FILE, '{"region": "eu-central-1"}'), says=("it is JSON",)),
    Mistake(
        name="the file is UTF-16",
        encodings=("utf-16", "utf-8"),
        says=("worker.toml can't be read: it is no text in UTF-8 but in UTF-16",),
    ),
    Mistake(
        name="a schema is UTF-16",
        encodings=("utf-8", "utf-16"),
        says=(r"\[schemas.local\] input = 'customer.avsc' can't be read: it is no text in UTF-8 but in UTF-16",),
    ),
    Mistake(
        name="routes stand in one bracket",
        change=("[[routes]]", "[routes]"),
        says=(r"routes: each begins with \[\[routes\]\]",),
    ),
    Mistake(
        name="the first of several routes stands in one bracket",
        change=("[[routes]]", FILE[FILE.index("[[routes]]") + 1 :].replace("[routes]]", "[routes]") + "[[routes]]"),
        says=("is not TOML", r"a route begins with \[\[routes\]\]"),
    ),
    Mistake(
        name="two schemas have one output id",
        change=("local = { ", 'local = { "2" = { input = "worker.toml", output_id = 1001 }, '),
        says=(r"schema 1 \(customer.avsc\)", r"schema 2 \(worker.toml\)", "one output_id, 1001", "give each its own"),
    ),
    Mistake(name="no route", change=(FILE[FILE.index("[[routes]]") :], ""), says=("routes: is missing",)),
    Mistake(
        name="two routes have one group",
        change=("[[routes]]", FILE[FILE.index("[[routes]]") :].replace("customers", "other") + "[[routes]]"),
        says=("routes: group 'g' is used twice", "a route has its own"),
    ),
    Mistake(
        name="schemas come from nowhere",
        change=('local = { "1" = { input = "customer.avsc", output_id = 1001 } }', ""),
        says=("schemas: give either registry = .* or", "schemas.local"),
    ),
    Mistake(
        name="a schema's file is not there",
        change=("customer.avsc", "costumer.avsc"),
        says=(r"\[schemas\.local\]", r"costumer\.avsc", "No such file"),
    ),
    Mistake(
        name="a property that the worker owns",
        change=("[schemas]", '[kafka.properties]\nacks = "1"\n[schemas]'),
        says=("acks", r"choose \[delivery\] mode instead"),
    ),
    Mistake(
        name="a property that the client library does not know",
        change=("[schemas]", '[kafka.properties]\n"sasl.mechanismus" = "PLAIN"\n[schemas]'),
        says=("Kafka property sasl.mechanismus", "CONFIGURATION.md"),
    ),
    Mistake(
        name="a secret's variable is not set",
        change=("[schemas]", '[kafka.secrets]\n"sasl.password" = "KAFKA_PASSWORD"\n[schemas]'),
        says=("KAFKA_PASSWORD is not set", r"\[kafka\] secrets: sasl\.password", "or KAFKA_PASSWORD_FILE"),
    ),
    Mistake(
        name="a secret comes twice",
        change=("[schemas]", '[kafka.secrets]\n"sasl.password" = "KAFKA_PASSWORD"\n[schemas]'),
        environ={"KAFKA_PASSWORD": PASSWORD, "KAFKA_PASSWORD_FILE": "worker.toml"},
        says=("both KAFKA_PASSWORD and KAFKA_PASSWORD_FILE are set", "keep one"),
    ),
    Mistake(
        name="a secret's file is not there",
        environ={"CS_CLIENT_KEY": "", "CS_CLIENT_KEY_FILE": "/nowhere/key"},
        says=("CS_CLIENT_KEY_FILE = '/nowhere/key' can't be read",),
    ),
    Mistake(name="--set has no value", arguments=(*RUN, "--set", "keys.max_age_s"), says=("is not name=value",)),
    Mistake(
        name="brokers are named by a URL",
        change=('bootstrap = "127.0.0.1:1"', 'bootstrap = "http://127.0.0.1:1"'),
        says=(r"kafka\.bootstrap: 'http://127\.0\.0\.1:1' is no broker's address", "host:port"),
    ),
    Mistake(
        name="brokers are not named",
        change=('bootstrap = "127.0.0.1:1"', 'bootstrap = ""'),
        says=(r"kafka\.bootstrap: '' is no broker's address", "host:port"),
    ),
    Mistake(
        name="the worker listens nowhere",
        change=("[schemas]", '[http]\nlisten = "127.0.0.1:94640"\n[schemas]'),
        says=(r"http\.listen: '127\.0\.0\.1:94640' is not host:port, with a port up to 65535",),
    ),
    Mistake(
        name="the authority's port is none",
        arguments=("authority", "dev", "--region", "oslo", "--port", "80000"),
        says=("--port", "less than or equal to 65535"),
    ),
    Mistake(
        name="a registry's URL lacks its protocol",
        change=(
            'local = { "1" = { input = "customer.avsc", output_id = 1001 } }',
            'registry = "hunter22:pw@registry:8081"',
        ),
        says=(r"schemas\.registry: 'registry:8081' is no registry's URL", "https://"),
    ),
    Mistake(
        name="tags of another tool are taken for declarations",
        arguments=("plan", "--lint", "customer.avsc"),
        schema={
            **SCHEMA,
            "fields": [
                {"name": "email", "type": "string", "encrypted": True},
                {"name": "nick", "type": "string", "confluent:tags": ["PII"]},
            ],
        },
        says=("acme.crm.Customer/nick", "personal|clear"),
        code=1,
    ),
    Mistake(
        name="a list is a word",
        change=('topics = ["customers"]', 'topics = "customers"'),
        says=(r"routes\.0\.source\.topics \(route customers\): is a list, as \[",),
    ),
    Mistake(
        name="a setting lacks a letter and stands so elsewhere",
        change=('topics = ["customers"]', 'topic = "customers"'),
        says=(r"routes\.0\.source\.topic \(route customers\)", r"did you mean topics\?"),
    ),
    Mistake(
        name="a kind is misspelt",
        change=('kind = "kafka"', 'kind = "kafak"'),
        says=(r"routes\.0\.sink \(route customers\): kind is one of 'kafka', 'postgres'", r"did you mean kafka\?"),
    ),
    Mistake(
        name="a setting under a name of one's own is misspelt",
        change=("input = ", "inptu = "),
        says=(r"schemas\.local\.1\.inptu", r"did you mean input\?"),
    ),
    Mistake(
        name="a login is half said",
        change=(
            "[schemas]",
            '[kafka.properties]\n"security.protocol" = "SASL_PLAINTEXT"\n"sasl.mechanism" = "PLAIN"\n[schemas]',
        ),
        says=("sasl.username and sasl.password must be set", r"\[kafka\] properties and secrets"),
    ),
    Mistake(
        name="a file of certificates is not there",
        change=(
            "[schemas]",
            '[kafka.properties]\n"security.protocol" = "SSL"\n"ssl.ca.location" = "/nowhere/ca.pem"\n[schemas]',
        ),
        says=("ssl.ca.location", r"\[kafka\] properties"),
    ),
    Mistake(
        name="a credential kept the quotes of its file",
        environ={"CS_CLIENT_ID": f'"{CREDENTIALS["CS_CLIENT_ID"]}"'},
        says=("CS_CLIENT_ID stands in quotes", "take them away"),
    ),
    Mistake(
        name="a first file is asked for with a schema that is not there",
        arguments=(
            "config",
            "init",
            "--region",
            "oslo",
            "--bootstrap",
            "127.0.0.1:1",
            "--topic",
            "t",
            "--schema",
            "x.avsc",
        ),
        says=("--schema 'x.avsc' can't be read: No such file",),
    ),
    Mistake(
        name="a first file is asked for of a URL",
        arguments=("config", "init", "--region", "oslo", "--bootstrap", "http://k:9092", "--topic", "t"),
        says=("'http://k:9092' is no broker's address", "host:port"),
    ),
    Mistake(
        name="the region's name is none",
        change=('region = "eu-central-1"', 'region = "EU Central"'),
        says=("region 'EU Central'", "on-prem-oslo"),
    ),
    Mistake(
        name="the workspace is not named",
        environ={"CS_WORKSPACE_CRN": ""},
        says=("CS_WORKSPACE_CRN is not set", r"\[authority\] workspace_crn"),
    ),
    Mistake(
        name="the workspace's name is none",
        environ={"CS_WORKSPACE_CRN": "eu-central-1:ZVATKW3VHMFG27DY"},
        says=("workspace CRN", "is not crn:<region>"),
    ),
    Mistake(
        name="the workspace is of another region",
        environ={"CS_WORKSPACE_CRN": "crn:ap-southeast-2.aws:ZVATKW3VHMFG27DY"},
        says=("workspace region", "eu-central-1", "ap-southeast-2", "set CS_WORKSPACE_CRN"),
        code=3,
    ),
    Mistake(
        name="the client's id is none",
        environ={"CS_CLIENT_ID": "worker-1"},
        says=("CS_CLIENT_ID is not a uuid",),
    ),
    Mistake(
        name="the client key is cut off",
        environ={"CS_CLIENT_KEY": KEY[:-6]},
        says=("CS_CLIENT_KEY", "cut|length|not a"),
    ),
    Mistake(
        name="the access key is none",
        environ={"CS_CLIENT_ACCESS_KEY": PASSWORD},
        says=("CS_CLIENT_ACCESS_KEY", r"CSAK<id>\.<secret>"),
    ),
    Mistake(
        name="the access key is not set",
        environ={"CS_CLIENT_ACCESS_KEY": ""},
        says=("CS_CLIENT_ACCESS_KEY is not set", "CS_OIDC_TOKEN_FILE"),
    ),
    Mistake(
        name="another prefix has no credentials",
        arguments=("whoami", "--prefix", "CS_US_"),
        says=("CS_US_WORKSPACE_CRN is not set",),
    ),
    Mistake(
        name="an instance is named like another's process",
        arguments=RUN,
        environ={"WORKER_INSTANCE": "worker--3"},
        says=("WORKER_INSTANCE 'worker--3'", "let it not end in --n"),
    ),
    Mistake(
        name="several processes and a limit",
        arguments=(*RUN, "--processes", "2", "--limit", "5"),
        says=("--processes goes with neither --dry-run nor --limit",),
    ),
    Mistake(
        name="a plan's file is not there",
        arguments=("plan", "costumer.avsc"),
        says=(
            r"costumer\.avsc can't be read: No such file or directory",
            "a relative path counts from the working directory",
        ),
    ),
    Mistake(
        name="one of two compared schemas is no JSON",
        arguments=("plan", "--diff", "worker.toml", "customer.avsc"),
        says=("worker.toml: ", "JSON"),
    ),
    Mistake(
        name="a key's schema is no JSON",
        arguments=("plan", "--key", "customer.avsc"),
        schema="{",
        says=("customer.avsc: ", "JSON"),
    ),
    Mistake(
        name="a provider's keys are no JSON",
        arguments=(
            *("authority", "provider", "add", "--issuer", "i", "--audience", "a", "--url", "http://127.0.0.1:1"),
            *("--access-key", "CSAKAAAA.BBBBCCCCDDDD", "--jwks", "worker.toml"),
        ),
        says=("--jwks 'worker.toml' is not JSON", "jwks_uri"),
    ),
    Mistake(name="a schema is no JSON", arguments=PLAN, schema="{", says=(r"customer\.avsc", "JSON")),
    Mistake(
        name="a schema is no Avro",
        arguments=PLAN,
        schema={"type": "record", "name": "Customer", "fields": [{"name": "a", "type": "strng"}]},
        says=(r"customer\.avsc", "strng"),
    ),
    Mistake(
        name="a declaration has an option that is none",
        arguments=PLAN,
        schema=email(encrypted={"formt": "leased"}),
        says=(r"customer\.avsc", "acme.crm.Customer/email", "formt", r"did you mean format\?"),
    ),
    Mistake(
        name="a declaration is misspelt",
        arguments=PLAN_OF_ROUTE,
        schema=email(encrytped=True),
        says=(r"customer\.avsc", "encrytped", "encrypted"),
    ),
    Mistake(
        name="a schema declares nothing",
        schema=email(),
        says=(r"customer\.avsc", "acme.crm.Customer", "clear"),
    ),
    Mistake(
        name="a required field is not declared",
        arguments=PLAN_OF_ROUTE,
        change=("[schemas]", '[schemas]\nrequired = ["acme.crm.Customer/email"]'),
        schema=without("email"),
        says=(r"customer\.avsc", "acme.crm.Customer/email", "required"),
    ),
    Mistake(
        name="a field is bound to one that is not there",
        arguments=PLAN_OF_ROUTE,
        schema=email(encrypted={"format": "leased", "bind": ["tenant"]}),
        says=(r"customer\.avsc", "acme.crm.Customer/email", "tenant"),
    ),
    Mistake(name="a command is misspelt", arguments=("chekc",), says=("No such command 'chekc'",)),
    Mistake(name="an option is misspelt", arguments=("check", "--confg", "worker.toml"), says=("--confg", "--config")),
    Mistake(
        name="a level of logs is none",
        arguments=("check", "--config", "worker.toml", "--log-level", "loud"),
        says=("--log-level", "'debug'"),
    ),
    Mistake(
        name="an authority's address lacks a bracket",
        environ={"CS_CTS_HOST": "http://[::1/"},
        arguments=("whoami",),
        says=("CS_CTS_HOST 'http://\\[::1/' is no address",),
    ),
    Mistake(
        name="an authority's address in the file lacks a bracket",
        change=("[kafka]", 'cts_host = "https://[::1/"\n[kafka]'),
        says=("worker.toml", r"authority\.cts_host: .* is no address such as https://"),
    ),
    Mistake(
        name="a proxy is none for requests",
        change=("[kafka]", f'[authority.client]\nproxy = "socks9://me:{PASSWORD}@10.0.0.1:1"\n[kafka]'),
        says=("worker.toml", r"authority\.client\.proxy: 'socks9://10\.0\.0\.1:1' is no proxy"),
    ),
    Mistake(
        name="a registry's port is none",
        change=("local = {", 'registry = "https://registry.eu-central-1.example:99999"\n# {'),
        says=("worker.toml", r"schemas\.registry: .*99999' is no address such as https://"),
    ),
    Mistake(
        name="a broker's address has a login",
        change=('"127.0.0.1:1"\ncluster', f'"me:{PASSWORD}@127.0.0.1:1"\ncluster'),
        says=("worker.toml", r"kafka\.bootstrap: '127\.0\.0\.1:1' with a login is no broker's address"),
    ),
    Mistake(
        name="a property of decrypt is a bare secret",
        arguments=("decrypt", "--topic", "t", "--bootstrap", "127.0.0.1:1", "--property", PASSWORD),
        says=("--property: number 1 of them is not name=value",),
    ),
    Mistake(
        name="a registry of decrypt is no address",
        arguments=("decrypt", "--topic", "t", "--bootstrap", "127.0.0.1:1", "--registry", "registry.example"),
        says=("--registry: 'registry.example' is no registry's URL",),
    ),
    Mistake(
        name="an authority's address of a verb has a login",
        arguments=("keyset", "list", "--url", f"https://me:{PASSWORD}@127.0.0.1:1", "--access-key", "CSAKAAAA.BBBB"),
        says=("the authority's address has a user in it",),
    ),
    Mistake(
        name="an authority's public address lacks a bracket",
        arguments=("authority", "serve", "--region", "r", "--data", "d", "--public-url", "http://[::1/"),
        says=("--public-url 'http://\\[::1/' is no address",),
    ),
    Mistake(
        name="a worker's address lacks a bracket",
        arguments=("status", "--url", "http://[::1"),
        says=("--url 'http://\\[::1' is no address",),
    ),
    Mistake(
        name="an authority's address is plain http to another machine",
        environ={"CS_CTS_HOST": "http://10.1.2.3:8081"},
        says=("CS_CTS_HOST|CTS", r"10\.1\.2\.3", "https"),
    ),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: m.name.replace(" ", "_"))
def test_a_mistake_is_answered(
    mistake: Mistake, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What, where and what to do are said; the exit code is right; no secret, no traceback, nothing written."""
    schema = mistake.schema if isinstance(mistake.schema, str) else json.dumps(mistake.schema)
    assert mistake.change[0] in FILE
    file = FILE.replace(*mistake.change) if mistake.change[0] else FILE
    (tmp_path / "worker.toml").write_text(file, encoding=mistake.encodings[0])
    (tmp_path / "customer.avsc").write_text(schema, encoding=mistake.encodings[1])
    monkeypatch.chdir(tmp_path)
    environ = {name: value for name, value in (CREDENTIALS | dict(mistake.environ)).items() if value}

    ended = program(mistake.arguments, environ)

    words = " ".join(re.sub(r"[│╭╮╰╯─]", " ", ended.said).split())
    assert [pattern for pattern in mistake.says if not re.search(pattern, words)] == [], words
    assert ended.code == mistake.code, words
    assert "Traceback" not in words
    assert [secret for secret in (KEY, KEY[:-6], PASSWORD, "BBBBCCCCDDDD") if secret in words] == []
    assert {path.name for path in tmp_path.iterdir()} == {"worker.toml", "customer.avsc"}


def test_the_catalogue_is_large() -> None:
    """Each mistake stands once."""
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 40
