"""Regions of one's own, as the published client takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.interop.conftest import run
from worker.authority.dev import DevAuthority

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]


def _encrypted(package: Path, authority: DevAuthority, **more: str) -> Any:
    value = {"plaintext": "ann@x", "table": "users", "column": "email"}
    return run(package, authority, ("encrypt", 0, value), **more)


@pytest.mark.parametrize("region", ["ap-south-1", "germanywestcentral", "on-prem-oslo"])
def test_a_region_of_ones_own_is_spelt_as_a_public_one(package: Path, tmp_path: Path, region: str) -> None:
    """The client refuses a workspace's name with another region; under a public one's name it works, and reads back."""
    with DevAuthority(region, tmp_path / "authority") as own:
        with pytest.raises(AssertionError, match="Invalid CRN"):
            _encrypted(package, own)
        spelt = own.env["CS_WORKSPACE_CRN"].replace(region, "eu-central-1")

        (sealed,) = _encrypted(package, own, workspaceCrn=spelt)
        (read,) = run(package, own, ("decrypt", 1, {"ciphertext": sealed["ok"]}), workspaceCrn=spelt)

    assert read == {"ok": "ann@x"}
