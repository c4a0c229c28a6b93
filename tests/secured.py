"""A real broker that authenticates and authorizes: SCRAM, client certificates and access tokens over TLS, ACLs."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

from tests.components import Kafka
from tests.listening import Answer, Listening
from worker.local import LocalKafka

DELIVERY = Path(__file__).resolve().parent.parent / "docs" / "delivery.md"
AUDIENCE, ISSUER = "kafka", "https://issuer.test"
_ROW = re.compile(
    r"^\| (Topic|Group|TransactionalId|Cluster) \| `([^`]+)` \| (literal|prefixed) \| (\w+) \|", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Right:
    """One row of docs/delivery.md's table; `name` may hold `<source>`, `<sink>`, `<group>` and `<region>`."""

    resource: str
    name: str
    pattern: str
    operation: str

    def __str__(self) -> str:
        return f"{self.operation}-{self.resource}-{self.name}".replace("<", "").replace(">", "")

    def filled(self, **names: str) -> Right:
        return replace(self, name=re.sub(r"<(\w+)>", lambda found: names[found[1]], self.name))

    def binding(self, principal: str) -> AclBinding:
        operation = re.sub(r"(?<!^)(?=[A-Z])", "_", self.operation).upper()
        resource = {"TransactionalId": "TRANSACTIONAL_ID"}.get(self.resource, self.resource.upper())
        return AclBinding(
            ResourceType[resource],
            self.name,
            ResourcePatternType[self.pattern.upper()],
            principal,
            "*",
            AclOperation[operation],
            AclPermissionType.ALLOW,
        )


def least_rights() -> list[Right]:
    """Return the rows of the documented table."""
    text = DELIVERY.read_text(encoding="utf-8")
    section = text[text.index("## Least rights") : text.index("## How it is tested")]
    return [Right(*found.groups()) for found in _ROW.finditer(section)]


class SecuredKafka:
    """
    One node with the KRaft authorizer, where only the set-up's own identity may do everything.

    `kafka` is that identity's way in; `connection` gives the worker's as TOML of `[kafka]`.
    """

    def __init__(self, local: LocalKafka, key: RSAKey) -> None:
        assert local.authority is not None
        self.local, self._key, self.certificates = local, key, local.authority
        bootstrap = local.administration["bootstrap.servers"]
        self.kafka = Kafka(bootstrap, local.cluster_id)
        self._admin = AdminClient({**self.kafka.client, "log_level": 2})

    def set_password(self, user: str, password: str) -> None:
        """Make a SCRAM user, or change its password."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        for future in self._admin.alter_user_scram_credentials([change]).values():
            future.result(30)

    def token(self, subject: str, *, lifetime_s: float = 600) -> str:
        """Return an access token that the broker takes while it lasts."""
        now = int(time.time())
        claims = {"sub": subject, "aud": AUDIENCE, "iss": ISSUER, "iat": now - 3600, "exp": int(now + lifetime_s)}
        return jwt.encode({"alg": "RS256", "kid": "one"}, claims, self._key)

    def allow(self, principal: str, rights: Iterable[Right]) -> None:
        """Give a principal exactly these rights."""
        # None is "any", which the library's declarations leave out.
        anything: Any = None
        everything = AclBindingFilter(
            ResourceType.ANY,
            anything,
            ResourcePatternType.ANY,
            principal,
            anything,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        for gone in self._admin.delete_acls([everything]).values():
            gone.result(30)
        for made in self._admin.create_acls([right.binding(principal) for right in rights]).values():
            made.result(30)

    def scram(self, user: str, *, ca: Path | None = None) -> str:
        """Return `[kafka]` for SCRAM; the password comes from KAFKA_PASSWORD."""
        return self._toml(
            self.local.bootstrap,
            {
                "security.protocol": "SASL_SSL",
                "sasl.mechanisms": "SCRAM-SHA-512",
                "sasl.username": user,
                "ssl.ca.location": str(ca or self.certificates.path),
            },
            secrets={"sasl.password": "KAFKA_PASSWORD"},
        )

    def mutual(self, certificate: Path) -> str:
        """Return `[kafka]` for a client certificate."""
        return self._toml(
            self.local.mutual_bootstrap,
            {
                "security.protocol": "SSL",
                "ssl.ca.location": str(self.certificates.path),
                "ssl.certificate.location": str(certificate),
                "ssl.key.location": str(certificate),
            },
        )

    def oauth(self, supply: str, **more: str) -> str:
        """Return `[kafka]` for access tokens; `supply` is the TOML of `oauth`, or empty."""
        properties = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "OAUTHBEARER",
            "ssl.ca.location": str(self.certificates.path),
        }
        hook = f"\noauth = {supply}" if supply else ""
        return self._toml(self.local.bootstrap, {**properties, **more}) + hook

    @staticmethod
    def _toml(bootstrap: str, properties: dict[str, str], secrets: dict[str, str] | None = None) -> str:
        def table(values: dict[str, str]) -> str:
            return "{ " + ", ".join(f'"{name}" = "{value}"' for name, value in values.items()) + " }"

        return f'bootstrap = "{bootstrap}"\nproperties = {table(properties)}' + (
            f"\nsecrets = {table(secrets)}" if secrets else ""
        )


@contextmanager
def running_secured(directory: Path, *, reauthenticate_s: float = 0) -> Iterator[SecuredKafka]:
    """Start the broker; `reauthenticate_s` makes it end sessions whose clients do not authenticate anew by then."""
    key = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig", "alg": "RS256"}, private=True)
    jwks = directory / "jwks.json"
    jwks.write_text(json.dumps(KeySet([key]).as_dict(private=False)))
    module = "org.apache.kafka.common.security.oauthbearer"
    listener = "listener.name.client.oauthbearer"
    overrides = {
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
        f"{listener}.sasl.jaas.config": f"{module}.OAuthBearerLoginModule required;",
        f"{listener}.sasl.server.callback.handler.class": f"{module}.OAuthBearerValidatorCallbackHandler",
        f"{listener}.sasl.oauthbearer.jwks.endpoint.url": jwks.as_uri(),
        f"{listener}.sasl.oauthbearer.expected.audience": AUDIENCE,
        f"{listener}.sasl.oauthbearer.expected.issuer": ISSUER,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "connections.max.reauth.ms": str(int(reauthenticate_s * 1000)),
    }
    flags = [f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={jwks.as_uri()}"]
    with LocalKafka(sasl=True, tls=True, overrides=overrides, jvm=flags) as local:
        yield SecuredKafka(local, key)


class TokenEndpoint(Listening):
    """An identity provider's token endpoint: gives a client that names its secret an access token."""

    def __init__(self, broker: SecuredKafka, subject: str) -> None:
        super().__init__()
        self.url += "/token"
        self.asked = 0
        self._broker, self._subject = broker, subject

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> Answer:
        """Give a token."""
        self.asked += 1
        given = {"access_token": self._broker.token(self._subject), "token_type": "Bearer", "expires_in": 600}
        known = headers.get("authorization", "").startswith("Basic ")
        return Answer(200 if known else 401, json.dumps(given).encode())
