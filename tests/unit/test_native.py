"""The extension module beside its twins: derivation, the authority's material, and how it is left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from worker.authority import material
from worker.authority.material import Item, KeysetSecrets
from worker.errors import ConfigError, KeyMaterialError
from worker.model import DataKey
from worker.native import IS_LOADED, OFF, REQUIRE, is_current, require
from worker.zerokms import checked
from worker.zerokms.checked import derive_checked
from worker.zerokms.derive import ClientKey, Permutations, random_permutation
from worker.zerokms.scalar import derive_scalar

built = pytest.mark.skipif(not IS_LOADED, reason="the extension module was not built here")


def client_key() -> ClientKey:
    return ClientKey(random_permutation(16), random_permutation(16), random_permutation(16), random_permutation(33))


@pytest.mark.parametrize("native", [pytest.param(True, marks=built), False])
def test_every_key_is_the_scalar_one(native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of keys, by either form, is what the protocol's own steps give for each."""
    monkeypatch.setattr(checked, "IS_LOADED", native)
    key = client_key()
    ivs, materials = os.urandom(16 * 20), os.urandom(528 * 20)

    keys = derive_checked(key, ivs, materials)

    each = [derive_scalar(key, ivs[16 * i : 16 * i + 16], materials[528 * i : 528 * i + 528]) for i in range(20)]
    assert bytes(keys) == b"".join(each)


@pytest.mark.parametrize("native", [pytest.param(True, marks=built), False])
@pytest.mark.parametrize("materials", [bytes(528), bytes(527), b""])
def test_hostile_or_short_material_gives_no_key(
    native: bool, materials: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal blocks, which would leak the client key, and lengths that do not fit the ivs are refused by either form."""
    monkeypatch.setattr(checked, "IS_LOADED", native)

    with pytest.raises(KeyMaterialError):
        derive_checked(client_key(), bytes(16), materials)


@built
@pytest.mark.parametrize("erasable", [False, True])
def test_both_authorities_make_the_same_material(erasable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority's material is equal, byte for byte, by the extension and by its twin."""
    share = Permutations.random()
    secrets = KeysetSecrets(uuid4(), os.urandom(32), os.urandom(32), os.urandom(32) if erasable else b"")
    leaves = os.urandom(72) if erasable else b""
    items = [
        Item(os.urandom(16), b"acme.Customer/email", b"", os.urandom(32), leaves[36 * (n % 3) :]) for n in range(50)
    ]
    tags = [item.tag for item in items]

    native = material.materials(secrets, share, items, tags)

    monkeypatch.setattr(material, "IS_LOADED", False)
    assert native == material.materials(secrets, share, items, tags)


def test_it_can_be_left_out() -> None:
    """`WORKER_NATIVE=0` leaves the extension out, built or not."""
    script = "from worker.native import IS_LOADED; print(IS_LOADED)"
    told = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, OFF: "0"}, capture_output=True, text=True, check=True
    )

    assert told.stdout.strip() == "False"


def test_it_can_be_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """`WORKER_REQUIRE_NATIVE=1` refuses where it is missing, and says what to do."""
    monkeypatch.setenv(REQUIRE, "1")
    monkeypatch.setattr("worker.native.IS_LOADED", False)

    with pytest.raises(ConfigError, match="cargo"):
        require()


@built
def test_a_module_of_other_code_is_left_alone(tmp_path: Path) -> None:
    """One that was built before its face changed would fail late, at the first call that it does not have."""
    from worker.native import extension

    changed = tmp_path / "_native.pyi"
    changed.write_text("def a_new_call() -> None: ...")

    assert is_current(extension)
    assert not is_current(extension, changed)
    assert is_current(extension, tmp_path / "stripped.pyi")


@built
def test_no_handle_shows_what_it_holds() -> None:
    """Of leases and a client key nothing can be read but what envelopes show, and their text is a name."""
    from worker.native import extension

    secret = memoryview(bytearray(b"\x41" * 32))
    key = DataKey(secret, iv=bytes(16), tag=bytes(32), keyset=uuid4(), descriptor="a/b")
    leases = extension.Granted([key])
    shown = repr(leases) + repr(extension.ClientKey(*(bytes(range(n)) for n in (16, 16, 16, 33))))

    assert "A" * 4 not in shown
    assert "41" not in shown
    assert [name for name in dir(leases) if not name.startswith("__")] == ["ivs", "label", "requests"]
