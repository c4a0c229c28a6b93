"""What is asked all the time is answered past the framework, and nothing else is."""

from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize(
    "path", ["generate-data-key", "retrieve-data-key", "retrieve-data-key-fallible", "load-keyset"]
)
def test_only_the_post_of_its_very_path_is_answered_directly(authority: dict[str, str], path: str) -> None:
    """Another method is told that it is the wrong one, another path that there is none, and the rest wants a token."""
    with httpx.Client(base_url=authority["CS_ZEROKMS_HOST"]) as client:
        assert client.get(path).status_code == 405
        assert client.post(f"{path}/more", json={}).status_code == 404
        refused = client.post(path, json={})

    assert refused.status_code == 401
    assert refused.json() == {"error": "a service token is needed"}
