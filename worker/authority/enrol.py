"""
The client's side of enrolment: a client key is made here and never sent.

"A then C" = D: the authority's share A and the client key C are drawn independently, so D exists nowhere. A further
client relates to an existing one by a random r: `A' = A then r` at the authority, `C' = r^-1 then C` here.
"""

from __future__ import annotations

from dataclasses import dataclass

from worker.zerokms.derive import ClientKey, Permutation, invert, random_permutation, then


@dataclass(frozen=True, slots=True)
class Proposal:
    """What the enrolling side sends: `p2` and, for a further client, the relation to the existing one."""

    p2: Permutation
    relation: tuple[Permutation, Permutation] | None = None


def first_client() -> tuple[ClientKey, Proposal]:
    """Make a workspace's first client key; its `p2_to` becomes the workspace's and is told to no authority."""
    key = ClientKey(random_permutation(16), random_permutation(16), random_permutation(16), random_permutation(33))
    return key, Proposal(key.p2_from)


def further_client(existing: ClientKey) -> tuple[ClientKey, Proposal]:
    """Make the key of a further client from an existing client's key."""
    relation = random_permutation(16), random_permutation(33)
    key = ClientKey(
        then(invert(relation[0]), existing.p1),
        random_permutation(16),
        existing.p2_to,
        then(invert(relation[1]), existing.p3),
    )
    return key, Proposal(key.p2_from, relation)
