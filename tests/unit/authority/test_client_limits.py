"""A client is held to quotas of its own, and to saying why it retrieves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.authority.conftest import access_key, existing, lines, party
from worker.authority import schema
from worker.authority.dev import DevAuthority
from worker.authority.enrol import propose
from worker.authority.head import term
from worker.authority.remote import Remote
from worker.cli import client as command
from worker.errors import KeyAccessDenied, KeyServiceUnavailable


def limit(own: DevAuthority, **said: Any) -> dict[str, Any]:
    told: dict[str, Any] = own.admin("api/clients/limits", {"client_id": own.env["CS_CLIENT_ID"], **said})
    return told


def test_a_quota_is_one_client_s_alone(own: DevAuthority) -> None:
    """The next request beyond it is refused; the other client, and the other operation, go on."""
    first = party(own)
    kept, _ = first.generate()

    limit(own, generate_per_minute=1)
    first.generate()
    with pytest.raises(KeyServiceUnavailable, match="429"):
        first.generate()

    first.retrieve(kept)
    for _ in range(3):
        party(own, "_2").generate()
    limit(own, generate_per_minute=None)
    first.generate()


def retrieved(own: DevAuthority, kept: dict[str, Any], context: Any) -> Any:
    one = party(own)
    body = {"client_id": one.client_id, "keyset_id": None, "keys": [kept], "unverified_context": context}
    return one.call("retrieve-data-key", body)


@pytest.mark.parametrize(
    "context",
    [
        *({}, {"reason": ""}, {"reason": "  "}, {"reason": None}, {"reason": 1}, {"why": "x"}),
        *({"reason": "x" * 513}, {"reason": "ticket\n7"}, {"reason": "\u200b"}),
    ],
)
def test_a_client_that_needs_a_reason_retrieves_none_without(own: DevAuthority, context: Any) -> None:
    """Refused, with a line in the audit; with a reason it stands there."""
    kept, _ = party(own).generate()
    limit(own, needs_reason=True)

    with pytest.raises(KeyAccessDenied, match="reason"):
        retrieved(own, kept, context)

    assert lines(own)[-1]["outcome"] == "refused"
    assert retrieved(own, kept, {"reason": "ticket 7"})["keys"]
    assert lines(own)[-1]["unverified_context"] == {"reason": "ticket 7"}


def test_a_reason_is_not_hidden_among_others_words(own: DevAuthority) -> None:
    """A caller that fills its line of the audit has what it said beside the reason hashed, and not the reason."""
    kept, _ = party(own).generate()
    limit(own, needs_reason=True)

    retrieved(own, kept, {"reason": "ticket 7", "pad": "x" * 16_000})

    said = lines(own)[-1]["unverified_context"]
    assert (said["reason"], "sha256" in said, "pad" in said) == ("ticket 7", True, False)


def test_canary_keyset_and_new_keys_need_none(own: DevAuthority) -> None:
    """What a worker does by itself goes on, and so does another client."""
    first, second = party(own), party(own, "_2")
    canary, _ = first.generate("zk-canary")
    other, _ = second.generate()
    limit(own, needs_reason=True)

    first.generate()
    first.retrieve(canary)
    first.call("load-keyset", {"client_id": first.client_id, "keyset_id": None})
    second.retrieve(other)


def test_who_enrols_through_a_client_is_held_to_what_it_is(own: DevAuthority) -> None:
    """A limit is not shaken off by a new client."""
    limit(own, retrieve_per_minute=7, needs_reason=True)

    made = propose(own.admin, name="third", region="eu-central-1", via=existing(own))

    (row,) = [r for r in own.admin("list-clients", {}) if r["id"] == str(made.client_id)]
    assert (row["generate_per_minute"], row["retrieve_per_minute"], row["needs_reason"]) == (None, 7, True)


def test_a_bound_admin_loosens_nothing(own: DevAuthority) -> None:
    """It would hold its own client to less."""
    bound = Remote(own.url, access_key(own, own.env["CS_CLIENT_ID"], "admin"))
    limit(own, needs_reason=True)

    with pytest.raises(KeyAccessDenied, match="bound to a client"):
        bound("api/clients/limits", {"client_id": own.env["CS_CLIENT_ID"], "needs_reason": False})


def test_an_admin_s_line_says_what_was_taken_off(own: DevAuthority) -> None:
    """A limit that goes is as much an action as one that comes."""
    limit(own, generate_per_minute=5)
    limit(own, generate_per_minute=None)

    said = [line["what"] for line in lines(own) if line["operation"] == "limit-client"]
    assert [what["generate_per_minute"] for what in said] == [5, None]


def test_a_row_without_limits_is_authenticated_as_before_there_were_any() -> None:
    """So that a replica of the version before goes on beside this one."""
    row = {"id": "c", "name": "n", "secret_hash": None}
    later = dict.fromkeys(("generate_per_minute", "retrieve_per_minute", "needs_reason"))

    assert term(bytes(32), schema.clients, row) == term(bytes(32), schema.clients, row | later)
    for name in later:
        assert term(bytes(32), schema.clients, row) != term(bytes(32), schema.clients, row | later | {name: 1})
    assert term(bytes(32), schema.access_keys, {"id": "k"}) != term(
        bytes(32), schema.access_keys, {"id": "k", "x": None}
    )


def test_the_command_says_and_unsays(own: DevAuthority) -> None:
    """`worker client limit`."""

    def run(*arguments: str) -> dict[str, Any]:
        call = ["limit", own.env["CS_CLIENT_ID"], "--json", *arguments]
        result = CliRunner().invoke(command.app, call, env=own.env, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        told: dict[str, Any] = json.loads(result.stdout)
        return told

    said = run("--generate-per-minute", "5", "--needs-reason")
    unsaid = run("--no-quota", "--needs-no-reason")

    assert (said["generate_per_minute"], said["retrieve_per_minute"], said["needs_reason"]) == (5, None, True)
    assert (unsaid["generate_per_minute"], unsaid["needs_reason"]) == (None, False)
