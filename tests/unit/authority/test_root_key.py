"""The root key is exchanged for another: what was written goes on, and the former key opens nothing of the store."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.unit.authority.conftest import Party, party
from worker.authority.audit import Trail
from worker.authority.dev import DevAuthority
from worker.authority.seal import Sealer, root_from_file
from worker.authority.server import Authority, AuthorityOptions
from worker.authority.store import Store
from worker.errors import ConfigError
from worker.region import Region

REGION = Region("eu-central-1")
URL = "http://127.0.0.1/"
NEW = bytes(range(32))


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, dict[str, object], bytes]:
    """A stopped authority's directory, and a key that it gave."""
    with DevAuthority(str(REGION), tmp_path / "data") as own:
        item, key = party(own).generate()
    return tmp_path / "data", item, key


def opens(directory: Path, root: bytes) -> bool:
    try:
        Store(directory / "authority.sqlite", REGION, Sealer(root)).close()
    except ConfigError:
        return False
    return True


def test_a_start_with_both_goes_over_to_the_new_one(kept: tuple[Path, dict[str, object], bytes]) -> None:
    """Afterwards the new one alone opens the store, the same keys are given, and the audit has a line of it."""
    directory, item, key = kept
    former = root_from_file(directory / "root.key")

    Authority(REGION, directory, NEW, URL, AuthorityOptions(former_root=former)).close()

    assert (opens(directory, NEW), opens(directory, former)) == (True, False)
    told = [json.loads(line) for line in (directory / "audit.jsonl").read_text().splitlines()]
    assert [line["operation"] for line in told].count("rotate-root-key") == 1
    (directory / "root.key").write_text(NEW.hex())
    with DevAuthority(str(REGION), directory) as again:
        one: Party = party(again)
        assert one.retrieve(item) == key
        one.generate()


def test_a_second_start_with_both_changes_nothing(kept: tuple[Path, dict[str, object], bytes]) -> None:
    """A replica that comes later finds the work done."""
    directory, _, _ = kept
    former = root_from_file(directory / "root.key")
    for _ in range(2):
        Authority(REGION, directory, NEW, URL, AuthorityOptions(former_root=former)).close()

    told = (directory / "audit.jsonl").read_text()
    assert told.count("rotate-root-key") == 1


def test_a_start_that_ends_before_the_audit_has_its_line_leaves_it_to_the_next(
    kept: tuple[Path, dict[str, object], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is under the new key by then; whoever starts next, without the former one too, says so once."""
    directory, _, _ = kept
    former = root_from_file(directory / "root.key")

    def failing(*_args: object) -> None:
        raise OSError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Trail, "record", failing)
        with pytest.raises(OSError, match="full"):
            Authority(REGION, directory, NEW, URL, AuthorityOptions(former_root=former))
    assert (directory / "audit.jsonl").read_text().count("rotate-root-key") == 0
    for _ in range(2):
        Authority(REGION, directory, NEW, URL).close()

    assert (directory / "audit.jsonl").read_text().count("rotate-root-key") == 1


@pytest.mark.parametrize("former", [None, os.urandom(32)], ids=["none", "a wrong one"])
def test_another_root_key_is_refused_without_the_one_of_before(
    kept: tuple[Path, dict[str, object], bytes], former: bytes | None
) -> None:
    """Nothing is written, and the rightful key goes on opening."""
    directory, _, _ = kept
    root = root_from_file(directory / "root.key")

    with pytest.raises(ConfigError, match="root key"):
        Authority(REGION, directory, NEW, URL, AuthorityOptions(former_root=former))

    assert opens(directory, root)


def test_a_copy_from_before_opens_with_the_former_key(
    kept: tuple[Path, dict[str, object], bytes], tmp_path: Path
) -> None:
    """The exchange reaches the store that makes it, and no copy: that is why the former key is destroyed last."""
    directory, _, _ = kept
    former = root_from_file(directory / "root.key")
    copy = shutil.copytree(directory, tmp_path / "copy")

    Authority(REGION, directory, NEW, URL, AuthorityOptions(former_root=former)).close()

    assert opens(copy, former)
