"""Erased values are refused at once and gone with their epoch; everything else goes on."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pyrage
import pytest
import time_machine
from typer.testing import CliRunner

from tests.unit.authority.conftest import access_key, lines
from tests.unit.authority.erasure.conftest import PEOPLE, KeyService, People, value, with_people
from worker.authority.dev import DevAuthority
from worker.authority.erasure import epochs
from worker.authority.erasure.shards import MOST_ERASED
from worker.authority.recovery.backup import write_backup
from worker.authority.remote import Remote
from worker.authority.server import AuthorityOptions
from worker.cli import authority as command
from worker.errors import ConfigError, KeyAccessDenied, KeyServiceUnavailable

ANN = ("customer_id", 42)


def test_erased_keys_are_refused_and_the_others_open(people: People) -> None:
    """The refusal says that they were erased and which values, to who asked for them; other contexts are untouched."""
    kept, key = people.make(customer_id=42)
    other, others_key = people.make(customer_id=43)
    bare, bare_key = people.client.generate(keyset=PEOPLE)

    answer = people.erase(ANN)

    assert [v["state"] for v in answer["values"]] == ["refused"]
    for asking in (lambda: people.client.retrieve(kept, PEOPLE), lambda: people.make(customer_id=42)):
        with pytest.raises(KeyAccessDenied, match="403 subject_erased"):
            asking()
    assert people.client.retrieve(other, PEOPLE) == others_key != key
    assert people.client.retrieve(bare, PEOPLE) == bare_key


def test_each_key_of_a_fallible_request_is_told_apart(people: People) -> None:
    """An erased one is that key's error alone, and so is one whose context is not the one it was made with."""
    kept = [people.make(customer_id=n)[0] for n in (41, 42, 43)]
    people.erase(ANN)

    found = people.retrieve_each([*kept, {**kept[0], "context": [value("customer_id", 43)]}])

    assert [next(iter(answer)) for answer in found] == ["Ok", "Err", "Ok", "Err"]
    assert found[1]["Err"].startswith("subject_erased")
    assert found[3]["Err"].startswith("Context did not")


def test_any_value_of_a_context_kills_its_keys(people: People) -> None:
    """The tenant or the customer; the same text under another name is another subject."""
    both, _ = people.make(tenant="acme", customer_id=42)
    tenant, tenant_key = people.make(tenant="42")
    people.erase(ANN)

    assert [next(iter(a)) for a in people.retrieve_each([both, tenant])] == ["Err", "Ok"]
    assert people.client.retrieve(tenant, PEOPLE) == tenant_key


def test_gone_dates_from_the_destruction_of_the_epochs_key(people: People, key_service: KeyService) -> None:
    """Refused at once; gone when the key that held it is destroyed, and what was erased later only then."""
    kept, key = people.make(customer_id=43)
    before = key_service.names
    people.erase(ANN)
    assert people.erased(ANN)["values"][0]["state"] == "refused"

    ended = people.own.admin("api/epoch")

    assert ended["destroyed"] == before
    assert not set(before) & set(key_service.names)
    gone = people.erased(ANN)["values"][0]
    assert gone["state"] == "gone"
    assert gone["gone_at"] >= gone["refused_at"]
    people.erase(("customer_id", 44))
    assert [v["state"] for v in people.erased(ANN, ("customer_id", 44), ("customer_id", 43))["values"]] == [
        "gone",
        "refused",
        "kept",
    ]
    assert people.client.retrieve(kept, PEOPLE) == key
    with pytest.raises(KeyAccessDenied, match="subject_erased"):
        people.make(customer_id=42)


def test_an_epoch_in_which_nothing_was_erased_does_not_end(people: People, key_service: KeyService) -> None:
    """There is nothing to destroy."""
    before = key_service.names

    assert people.own.admin("api/epoch")["moved"] is False
    assert key_service.names == before


def test_without_a_key_command_nothing_is_claimed_to_be_gone(own: DevAuthority) -> None:
    """What lies beside the store's key is refused and no more, in every output."""
    people = with_people(own)
    people.make(customer_id=42)

    people.erase(ANN)

    asked = ["erased", "--keyset", "people", "--context", "customer_id=42"]
    shown = CliRunner().invoke(command.app, asked, env=own.env)
    assert "refused since" in shown.output
    assert "never gone" in shown.output
    with pytest.raises(KeyAccessDenied, match="no key command"):
        own.admin("api/epoch")


def test_erasing_again_changes_nothing(people: People) -> None:
    """The time of the first erasure stays."""
    first = people.erase(ANN)

    again = people.erase(ANN, ANN, ("customer_id", 43))

    assert again["values"][0] == again["values"][1] == first["values"][0]


def test_many_erasures_part_the_tree(people: People, options: AuthorityOptions, tmp_path: Path) -> None:
    """Parts stay small, in one request or one by one, across an epoch and a restart; who is left goes on."""
    kept = [(n, *people.make(customer_id=n)) for n in range(0, 3 * MOST_ERASED, 5)]
    out = [n for n in range(3 * MOST_ERASED) if n % 5]
    people.erase(*(("customer_id", n) for n in out[:-10]))
    for n in out[-10:-5]:
        people.erase(("customer_id", n))
    people.own.admin("api/epoch")
    people.erase(*(("customer_id", n) for n in out[-5:]))

    state = people.own.authority.store.state
    assert len(state.shards) > 2
    people.own.stop()
    with DevAuthority("eu-central-1", tmp_path / "own", options=options) as own:
        people = People(own, type(people.client)(own.url, own.env["CS_CLIENT_ACCESS_KEY"], *_own(own)))
        for _, item, key in kept:
            assert people.client.retrieve(item, PEOPLE) == key
        states = people.erased(*(("customer_id", n) for n in out))["values"]
        assert [v["state"] for v in states] == ["gone"] * (len(out) - 5) + ["refused"] * 5


def _own(own: DevAuthority) -> tuple[str, str]:
    return own.env["CS_CLIENT_ID"], own.env["CS_CLIENT_KEY"]


def test_what_was_opened_is_let_go_at_the_erasure(people: People) -> None:
    """Neither the leaf nor the part that it came from stays in memory; other leaves do."""
    people.make(customer_id=42)
    people.make(customer_id=43)
    store = people.own.authority.store
    position = people.erased(ANN)["values"][0]["position"]
    assert any(position in key for key in store.state.opened["erasures"])

    people.erase(ANN)

    assert not store.state.opened["shards"]
    assert [position in key for key in store.state.opened["erasures"]] == [False]


def test_other_keysets_can_not_be_erased_from(people: People) -> None:
    """Whether a keyset is erasable is decided when it is made, and only those that are say so."""
    plain = people.own.create_keyset("plain")
    made = people.own.admin("list-keysets", {"show_disabled": False})

    with pytest.raises(KeyAccessDenied, match=r"409 .*not erasable"):
        people.own.admin("api/erase", {"keyset_id": {"Name": "plain"}, "values": [["a", "b"]]})
    assert "erasable" not in plain
    assert {k["name"]: k.get("erasable") for k in made}["people"] is True


def test_the_canarys_value_can_not_be_erased(people: People) -> None:
    """It is what a wrong tree is seen by."""
    with pytest.raises(KeyAccessDenied, match="canary"):
        people.erase(("zk-canary", "tree"))


@pytest.mark.parametrize("role", ["control", "member", "writer", "auditor", "monitor"])
def test_only_an_admin_erases(people: People, role: str) -> None:
    """Nobody else, and no admin that is bound to a client or narrowed to other keysets."""
    plain = people.own.create_keyset("plain")["id"]
    keys = [access_key(people.own, None, role), access_key(people.own, people.client.client_id, "admin")]
    keys.append(access_key(people.own, None, "admin", keysets=[plain]))

    for key in keys:
        with pytest.raises(KeyAccessDenied, match="403"):
            Remote(people.own.url, key)("api/erase", {"keyset_id": PEOPLE, "values": [["customer_id", "42"]]})
    assert people.erased(ANN)["values"][0]["state"] == "kept"


def test_audit_and_journal_have_positions_and_no_values(people: People, tmp_path: Path) -> None:
    """Who erased, in which keyset and under which names; the text that was erased is nowhere."""
    secret = "ann@example.org"
    answer = people.erase(("email", secret))

    line = next(line for line in lines(people.own) if line["operation"] == "erase")
    assert line["what"] == {"names": ["email"], "positions": [answer["values"][0]["position"]]}
    assert line["keyset_name"] == "people"
    assert line["outcome"] == "allowed"
    for path in (people.own.audit_path, tmp_path / "journal", *(tmp_path / "own").glob("authority.sqlite*")):
        assert secret.encode() not in path.read_bytes()


def test_a_key_that_is_still_there_is_not_called_destroyed(options: AuthorityOptions, tmp_path: Path) -> None:
    """A command that only says so does not make it so: the erasure stays refused, and the next end tries again."""
    liar = tmp_path / "liar.sh"
    liar.write_text(f'#!/bin/sh\n[ "$1" = destroy ] || exec {tmp_path}/keys.sh "$@"\n')
    liar.chmod(0o700)
    lying = replace(options, keys=type(options.keys)(str(liar)))  # type: ignore[misc,call-arg]
    with DevAuthority("eu-central-1", tmp_path / "own", options=lying) as own:
        people = with_people(own)
        people.erase(ANN)
        with pytest.raises(KeyServiceUnavailable, match="still to be had"):
            own.admin("api/epoch")
        assert people.erased(ANN)["values"][0]["state"] == "refused"
    with DevAuthority("eu-central-1", tmp_path / "own", options=options) as own:
        assert own.admin("api/epoch")["moved"] is False
        again = own.admin("api/erased", {"keyset_id": PEOPLE, "values": [["customer_id", "42"]]})
        assert again["values"][0]["state"] == "gone"


def test_keys_that_are_not_to_be_had_stop_erasable_keysets_alone(
    people: People,
    options: AuthorityOptions,
    key_service: KeyService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No key is derived without the tree, readiness says so, other keysets go on, and it comes back by itself."""
    monkeypatch.setattr(epochs, "AGAIN_S", 0.0)
    kept, key = people.make(customer_id=42)
    people.own.stop()
    key_service.go_away(True)
    with DevAuthority("eu-central-1", tmp_path / "own", options=options) as own:
        people = People(own, type(people.client)(own.url, own.env["CS_CLIENT_ACCESS_KEY"], *_own(own)))
        with pytest.raises(KeyServiceUnavailable, match="key command"):
            people.client.retrieve(kept, PEOPLE)
        people.client.generate()
        assert own.authority.ready()["derivation"] != "ok"
        key_service.go_away(False)
        assert people.client.retrieve(kept, PEOPLE) == key
        assert own.authority.ready()["ready"]


def test_a_store_with_epochs_does_not_start_without_the_command(people: People, tmp_path: Path) -> None:
    """It could derive nothing of these keysets."""
    people.own.stop()

    with pytest.raises(ConfigError, match="--epoch-key-command"):
        DevAuthority("eu-central-1", tmp_path / "own")


def test_the_command_line_says_which_of_the_two_holds(people: People) -> None:
    """erase asks first; erased and end-epoch tell refused from gone."""
    env, value_of = people.own.env, ["--keyset", "people", "--context", "customer_id=42"]

    def run(*arguments: str, said: str = "") -> str:
        return CliRunner().invoke(command.app, list(arguments), env=env, input=said).output

    assert "Aborted" in run("erase", *value_of, said="n\n")
    assert "not erased" in run("erased", *value_of)
    assert "not gone before the epoch ends" in run("erase", *value_of, "--yes")
    assert "destroyed: epoch-eu-central-1-1-" in run("end-epoch")
    assert "gone from the store since" in run("erased", *value_of)
    assert json.loads(run("erased", *value_of, "--json"))["values"][0]["state"] == "gone"


@pytest.mark.parametrize(
    ("text", "note"),
    [
        *((" 42", "blanks"), ("42\t", "blanks"), ('"42"', "quotes"), ("042", "no zeros in front"), ("+42", "no sign")),
        *(("DE2DF598-9948-4988-B00A-A41C0E287398", "capitals"), ("42", None), ("-42", None), ("Ann O'Neill", None)),
        ("de2df598-9948-4988-b00a-a41c0e287398", None),
    ],
)
def test_a_value_that_no_worker_sends_is_told(people: People, text: str, note: str | None) -> None:
    """It is erased as it stands, which erases nobody; that must not look like done."""
    asked = ["erased", "--keyset", "people", "--context", f"customer_id={text}"]

    told = CliRunner().invoke(command.app, asked, env=people.own.env).stderr

    assert (note in told and "compared as it stands" in told) if note else told == ""


def test_an_epoch_ends_by_its_age_however_often_it_was_started_anew(
    people: People, options: AuthorityOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restarts within the interval do not keep what was erased; one that is not old enough stays."""
    people.erase(ANN)
    own, told = people.own.authority.epochs, list[dict[str, object]]()
    began = time.time()
    assert own.move(told.append, older_than_s=3600)["moved"] is False
    people.own.stop()
    monkeypatch.setattr(epochs, "LOOK_S", 0.01)
    with (
        time_machine.travel(began + 3601),
        DevAuthority("eu-central-1", tmp_path / "own", options=replace(options, epoch_every_s=3600)) as again,
    ):
        asked = {"keyset_id": PEOPLE, "values": [["customer_id", "42"]]}
        deadline = time.monotonic() + 20
        while again.admin("api/erased", asked)["values"][0]["state"] != "gone":
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_clock_that_is_put_back_hides_no_backup(people: People, tmp_path: Path) -> None:
    """One that was made before an erasure holds what was erased, whatever time either says."""
    store, own = people.own.authority.store, people.own.authority.epochs
    people.make(customer_id=42)
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    own.clock = lambda: time.time() + 86_400
    write_backup(store, [recipient], people.own.authority.subjects)
    own.clock = time.time

    told = people.erase(ANN)

    assert len(told["backups"]) == 1
