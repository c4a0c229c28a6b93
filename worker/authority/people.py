"""People: identity providers, memberships, and blocked subjects (protocol 3.4)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

from worker.authority import schema, wire
from worker.authority.access import Caller
from worker.authority.management import reach
from worker.authority.refusal import Refusal
from worker.authority.rights import Rights, whole
from worker.authority.store import Row, State, Store
from worker.authority.transaction import Transaction
from worker.errors import ConfigError
from worker.http_client import url_parts

ACCESS_KEY_SUBJECT = "CS|CSAK"
"""How an access key's subject begins; nobody of an identity provider may be called so."""


def rights_of_subject(state: State, provider: Row, subject: str) -> Rights | None:
    """Return a subject's rights by its membership, else by its provider's default; None where there is neither."""
    member = state.members.get((provider["workspace"], subject))
    if member is not None:
        return Rights.of(member["role"], None, member["client"], member["keysets"])
    return _default_of(provider)


class People:
    """What an admin does with the identities of an identity provider."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_providers(self, caller: Caller) -> list[dict[str, Any]]:
        """List the trusted identity providers."""
        shown = ("id", "issuer", "vendor", "audience", "jwks_uri", "default_role", "default_client")
        return [{k: p[k] for k in shown} for p in self._providers(caller)]

    def create_provider(self, caller: Caller, body: wire.CreateProvider) -> dict[str, Any]:
        """Trust an identity provider; one a workspace, so that a subject can't be two people's."""
        if (body.jwks_uri is None) == (body.jwks is None):
            raise Refusal(400, "give jwks_uri or jwks")
        try:
            url_parts(body.jwks_uri or "", "jwks_uri")
        except ConfigError as exc:
            raise Refusal(400, "jwks_uri is no address such as https://idp.example/keys") from exc
        if any(self._providers(caller)):
            raise Refusal(409, "the workspace trusts a provider already; delete it first")
        # Whoever names the keys can sign for every subject, members included.
        for member in self._members(caller):
            caller.require_to_cover(Rights.of(member["role"], None, member["client"], member["keysets"]))
        default = self._default(caller, body.default_role, body.default_client)
        row = {"id": str(uuid4()), "workspace": caller.workspace, **body.model_dump(), **default}
        caller.note["made"] = row["id"]
        self._store.write(lambda t: t.insert(schema.oidc_providers, row))
        return {"id": row["id"]}

    def set_default(self, caller: Caller, provider: str, body: wire.ProviderDefault) -> dict[str, Any]:
        """Say what a provider's subjects without a membership are."""
        row = self._own(caller, self._store.state.providers.get(provider))
        default = self._default(caller, body.default_role, body.default_client)
        self._store.write(lambda t: t.update(schema.oidc_providers, row["id"], default))
        return {}

    def delete_provider(self, caller: Caller, provider: str) -> dict[str, Any]:
        """Trust a provider no longer; its users' tokens stop at the next request."""
        row = self._own(caller, self._store.state.providers.get(provider))
        self._store.write(lambda t: t.delete(schema.oidc_providers, row["id"]))
        return {}

    def list_memberships(self, caller: Caller) -> list[dict[str, Any]]:
        """List the roles given to subjects."""
        return [{k: m[k] for k in ("id", "subject", "role", "client", "keysets")} for m in self._members(caller)]

    def create_membership(self, caller: Caller, body: wire.CreateMembership) -> dict[str, Any]:
        """Give a subject of the identity provider a role, with no more than the caller's own rights."""
        if body.subject.startswith(ACCESS_KEY_SUBJECT):
            raise Refusal(400, "a subject of an identity provider does not begin with CSAK")
        client, keysets = reach(self._store, caller, body.client, body.keysets)
        caller.require_to_cover(Rights.of(body.role, None, client, keysets))
        if any(m["subject"] == body.subject for m in self._members(caller)):
            raise Refusal(409, "the subject has a role already")
        row: Row = {"id": str(uuid4()), "workspace": caller.workspace, "subject": body.subject, "role": body.role}
        row |= {"client": client, "keysets": keysets}
        caller.note["made"] = row["id"]
        self._store.write(lambda t: t.insert(schema.memberships, row))
        return {"id": row["id"]}

    def delete_membership(self, caller: Caller, membership: str) -> dict[str, Any]:
        """Take a role back at the next request; the subject falls to its provider's default, if that has one."""
        row = self._own(caller, self._store.state.memberships.get(membership))
        for provider in self._providers(caller):
            default = _default_of(provider)
            if default is not None:
                caller.require_to_cover(default)
        caller.note["subject_named"] = row["subject"]
        self._store.write(lambda t: t.delete(schema.memberships, row["id"]))
        return {}

    def list_blocked(self, caller: Caller) -> list[dict[str, Any]]:
        """List the blocked subjects."""
        return [{"subject": s} for workspace, s in self._store.state.blocked if workspace == caller.workspace]

    def block(self, caller: Caller, body: wire.Subject) -> dict[str, Any]:
        """Refuse every token of a subject from the next request on."""
        if (caller.workspace, body.subject) not in self._store.state.blocked:
            row = {"workspace": caller.workspace, "subject": body.subject}
            self._store.write(lambda t: t.insert(schema.blocked_subjects, row))
        return {}

    def unblock(self, caller: Caller, body: wire.Subject) -> dict[str, Any]:
        """Let a subject in again, one with no more rights than the caller's own."""
        for granted in self._rights_named(caller, body.subject):
            caller.require_to_cover(granted)

        def change(transaction: Transaction) -> None:
            transaction.delete(schema.blocked_subjects, (caller.workspace, body.subject))

        self._store.write(change)
        return {}

    def _rights_named(self, caller: Caller, subject: str) -> Iterator[Rights]:
        key = self._store.state.access_keys.get(subject.removeprefix(ACCESS_KEY_SUBJECT))
        if subject.startswith(ACCESS_KEY_SUBJECT) and key is not None and key["workspace"] == caller.workspace:
            yield Rights.of(key["role"], key["scopes"], key["client"], key["keysets"])
        for provider in self._providers(caller):
            granted = rights_of_subject(self._store.state, provider, subject)
            if granted is not None:
                yield granted

    def _default(self, caller: Caller, role: str | None, client: UUID | None) -> dict[str, Any]:
        if role is None:
            if client is not None:
                raise Refusal(400, "a default client needs a default role")
            return {"default_role": None, "default_client": None}
        whole(role)
        bound, _ = reach(self._store, caller, client, None)
        caller.require_to_cover(Rights.of(role, None, bound))
        return {"default_role": role, "default_client": bound}

    def _providers(self, caller: Caller) -> list[Row]:
        return [p for p in self._store.state.providers.values() if p["workspace"] == caller.workspace]

    def _members(self, caller: Caller) -> list[Row]:
        return [m for m in self._store.state.memberships.values() if m["workspace"] == caller.workspace]

    def _own(self, caller: Caller, row: Row | None) -> Row:
        if row is None or row["workspace"] != caller.workspace:
            raise Refusal(404, "not found")
        return row


def _default_of(provider: Row) -> Rights | None:
    role = provider["default_role"]
    return None if role is None else Rights.of(role, None, provider["default_client"])
