"""What to do about a refusal of the key service, by its own words; its protocol has no codes for most of them."""

from __future__ import annotations

ERASED = "subject_erased"
"""How a refusal begins where a value of a key's context was erased in its keyset."""
_REMEDIES = (
    (ERASED, "that does not come back; a subject that is new needs a new id"),
    (
        "client not found",
        "CS_CLIENT_ID names no client of this workspace: it was deleted, or belongs to another authority. See `worker "
        "client list`, and make one with `worker client create`",
    ),
    ("keyset disabled", "an administrator disabled it; `worker keyset enable` lets it be used again"),
    (
        "keyset not found",
        "what is read is of another region or workspace, or what is written names it: see [encryption] keyset and "
        "keysets, [dead_letters] keyset, or keyset=...; `worker keyset create` makes one",
    ),
    ("keyset not granted", "an administrator lets this client use it with `worker keyset grant`"),
    (
        "narrowed to other keysets",
        "take an access key that may use this keyset (worker access-key create)",
    ),
    ("bound to another client", "CS_CLIENT_ACCESS_KEY and CS_CLIENT_ID belong to two clients; take both of one"),
    (
        "is missing",
        "the access key's role lacks that scope; see worker access-key create --role",
    ),
    ("the client belongs to", "take a client of this authority's region (worker client create --region)"),
    (
        "access key of this token has been deleted",
        "make another one: worker access-key create",
    ),
    ("blocked", "an administrator blocked this subject; ask who did, and why"),
)
_OTHERWISE = {
    401: "see CS_CLIENT_ACCESS_KEY, or the identity provider's token",
    403: "see what this identity may: `worker whoami`, and `worker client list` as an administrator",
    404: "see CS_CLIENT_ID, CS_ZEROKMS_HOST and the configured keysets",
}


def remedy(status: int, reason: str) -> str:
    """Return what to do; empty where nobody knows."""
    lowered = reason.lower()
    return next((said for words, said in _REMEDIES if words in lowered), _OTHERWISE.get(status, ""))
