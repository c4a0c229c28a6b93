"""Request bodies of ZeroKMS as the protocol has them; anything unknown in them is refused (protocol 4)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AliasChoices,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)
from pydantic_core import PydanticCustomError


class Body(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    unaudited: ClassVar[frozenset[str]] = frozenset()
    """Fields that are secrets, or too large to say what was asked for."""

    def audited(self) -> dict[str, Any]:
        """Return what the audit's line of an admin action says of the request."""
        return self.model_dump(mode="json", exclude=set(self.unaudited), exclude_none=True)


def _descriptor(text: str) -> str:
    if len(text.encode()) > 512:
        raise ValueError("descriptor is longer than 512 bytes")
    return text


class ByUuid(Body):
    """A keyset by id."""

    Uuid: UUID


class ByName(Body):
    """A keyset by name."""

    Name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_/-]+$")


KeysetRef = ByUuid | ByName | UUID | None
_Ref = Annotated[KeysetRef, Field(validation_alias=AliasChoices("keyset_id", "dataset_id"))]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_/-]+$")]
Text = Annotated[str, Field(max_length=256)]


class Element(Body):
    """One context element: exactly one of a tag, a value and an identity claim."""

    Tag: str | None = None
    Value: tuple[str, str] | None = None
    IdentityClaim: str | None = Field(None, validation_alias=AliasChoices("IdentityClaim", "identityClaim"))


class Condition(Body):
    """One condition of a decryption policy."""

    claim: str = Field(min_length=1, max_length=256)
    value: str | None = None


class Policy(Body):
    """A decryption policy: one satisfied condition suffices."""

    conditions: list[Condition] = Field(min_length=1, max_length=32)


class GenerateItem(Body):
    """One key to make; iv is base64 of 16 bytes."""

    iv: str = Field(validation_alias=AliasChoices("iv", "id"))
    descriptor: Annotated[str, AfterValidator(_descriptor)]
    context: list[Element] = Field(default=[], max_length=64)
    decryption_policy: Policy | None = None


class RetrieveItem(GenerateItem):
    """One key to make again; tag is 32 byte numbers."""

    tag: list[Annotated[int, Field(ge=0, le=255)]] = Field(max_length=64)
    tag_version: int = Field(0, ge=0, le=1)


class Generate(Body):
    """Keys to make for one client in one keyset."""

    client_id: UUID
    keyset_id: _Ref = None
    keys: list[GenerateItem]
    unverified_context: dict[str, JsonValue] = {}


class Retrieve(Body):
    """Keys to make again for one client in one keyset."""

    client_id: UUID
    keyset_id: _Ref = None
    keys: list[RetrieveItem]
    unverified_context: dict[str, JsonValue] = {}


class LoadKeyset(Body):
    """A keyset and its index material."""

    client_id: UUID
    keyset_id: _Ref = None


class NewClient(Body):
    """The client that `create-keyset` may make beside the keyset."""

    client_type: str = "device"
    name: Name


class CreateKeyset(Body):
    """A new keyset."""

    name: Name
    description: str = Field(min_length=1, max_length=256)
    client: NewClient | None = None


class ListKeysets(Body):
    """Which keysets to list."""

    show_disabled: bool = False


class ModifyKeyset(Body):
    """A keyset's new name or description."""

    keyset_id: _Ref
    name: Name | None = None
    description: Text | None = None


class OneKeyset(Body):
    """A keyset."""

    keyset_id: _Ref


class ClientKeyset(Body):
    """A client and a keyset."""

    client_id: UUID
    keyset_id: _Ref


class CreateClient(Body):
    """A client whose key the authority makes; off unless the operator chose so."""

    keyset_id: _Ref = None
    name: Name
    description: Text = ""


class ListClients(Body):
    """Whose clients to list."""

    keyset_id: _Ref = None


class DeleteClient(Body):
    """A client; `cascade` takes those that were enrolled through it too, `last` is its name where it is the last."""

    client_id: UUID
    cascade: bool = False
    last: str | None = None


class Relation(Body):
    """A permutation of 16 and one of 33: how two clients' shares differ."""

    p1: list[int] = Field(min_length=16, max_length=16)
    p3: list[int] = Field(min_length=33, max_length=33)


class Canary(Body):
    """A value's public parts and a commitment to what only its key can show (32 bytes, hex)."""

    iv: str
    tag: str
    descriptor: Annotated[str, AfterValidator(_descriptor)]
    commitment: str = Field(pattern=r"^[0-9a-f]{64}$")


class ProposeClient(Body):
    """First step of an enrolment; `via`, `relation` and `canary` together, all absent for the first client."""

    unaudited = frozenset({"relation"})

    name: Name
    description: Text = ""
    region: str
    keyset_id: _Ref = None
    via: UUID | None = None
    relation: Relation | None = None
    canary: Canary | None = None


class ApproveClient(Body):
    """An admin's consent to a proposed client."""

    client_id: UUID


class MaskClient(Body):
    """Second step: the new client's own relation and the permutation p2 it shares with the authority."""

    unaudited = frozenset({"enrolment_secret", "relation", "p2"})

    client_id: UUID
    enrolment_secret: str
    relation: Relation
    p2: list[int] = Field(min_length=16, max_length=16)


class ActivateClient(Body):
    """Last step: the proof that the canary opened; empty for the first client."""

    unaudited = frozenset({"enrolment_secret", "proof"})

    client_id: UUID
    enrolment_secret: str
    proof: str = ""


class Authorise(Body):
    """A credential to exchange: an access key, or an identity provider's token and the workspace."""

    accessKey: str | None = None
    audience: str | None = None
    oidcToken: str | None = None
    workspaceId: str | None = None


class CreateAccessKey(Body):
    """A new access key: `scopes` narrows the role, `client` is the one it derives for, `keysets` are all it reaches."""

    workspaceId: str | None = None
    keyName: str = Field(min_length=1, max_length=64)
    role: str
    scopes: list[str] | None = None
    client: UUID | None = None
    keysets: list[UUID] | None = None

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        if isinstance(given, dict) and "clients" in given:
            raise PydanticCustomError("clients_is_gone", "say client, one id: an access key has one client")
        return given


class BindAccessKey(Body):
    """The one client of an access key that has none yet."""

    workspaceId: str | None = None
    keyName: str
    client: UUID


class DeleteAccessKey(Body):
    """An access key by name."""

    workspaceId: str | None = None
    keyName: str


class CreateProvider(Body):
    """An identity provider to trust; its keys by URL (https) or given."""

    issuer: str = Field(min_length=1, max_length=512)
    vendor: str = Field(pattern="^(auth0|okta|clerk|supabase|other)$")
    audience: str = Field(min_length=1, max_length=512)
    jwks_uri: str | None = Field(None, pattern="^https://", max_length=512)
    jwks: dict[str, JsonValue] | None = None
    default_role: str | None = None
    default_client: UUID | None = None

    unaudited = frozenset({"jwks"})


class ProviderDefault(Body):
    """What a provider's subjects without a membership are; without a role they are refused."""

    default_role: str | None = None
    default_client: UUID | None = None


class CreateMembership(Body):
    """A subject's role."""

    subject: str = Field(min_length=1, max_length=512)
    role: str
    client: UUID | None = None
    keysets: list[UUID] | None = None


class AuditQuery(Body):
    """Which entries of the audit to read: at most `limit` after the number `after`, or the newest."""

    subject: str | None = None
    client: UUID | None = None
    keyset: str | None = None
    field: str | None = None
    operation: str | None = None
    outcome: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    after: int = -1
    limit: int = Field(1000, ge=1, le=5000)
    newest: bool = False


class MakeBackup(Body):
    """Whom a backup is encrypted to: age public keys."""

    recipients: list[str] = Field(min_length=1, max_length=16)


class Unlock(Body):
    """A credential that a restore printed."""

    credential: str = Field(min_length=16, max_length=256)


class Subject(Body):
    """A token's subject, to block or to let in again."""

    subject: str = Field(min_length=1, max_length=512)
