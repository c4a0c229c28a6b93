"""Many subjects, a hundredth of them erased: theirs open for nobody, all others do, and so after a restore."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.authority.erasure.conftest import PEOPLE, KeyService, People, value
from tests.unit.authority.erasure.test_restoring import back_up, client_of, restored
from worker.authority.server import AuthorityOptions
from worker.cli import authority as command

_AT_ONCE = 500


class Everybody:
    """One key of each subject, as an envelope would keep it, and the material that made it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.kept: list[dict[str, object]] = []
        self.keys: list[str] = []

    def write(self, people: People) -> None:
        for start in range(0, self.count, _AT_ONCE):
            items = [
                {
                    "iv": base64.b64encode(n.to_bytes(16)).decode(),
                    "descriptor": "customers/email",
                    "context": [value("customer_id", n)],
                }
                for n in range(start, min(start + _AT_ONCE, self.count))
            ]
            body = {"client_id": people.client.client_id, "keyset_id": PEOPLE, "keys": items}
            answer = people.client.call("generate-data-key", body | {"unverified_context": {}})["keys"]
            for item, made in zip(items, answer, strict=True):
                self.kept.append({**item, "tag": list(base64.b64decode(made["tag"]))})
                self.keys.append(made["key_material"])

    def opened(self, people: People) -> set[int]:
        """Whose key is still to be had, and is the one that it was."""
        found = set()
        for start in range(0, self.count, _AT_ONCE):
            keys = self.kept[start : start + _AT_ONCE]
            body = {"client_id": people.client.client_id, "keyset_id": PEOPLE, "unverified_context": {}, "keys": keys}
            for n, answer in enumerate(people.client.call("retrieve-data-key-fallible", body)["keys"], start):
                if "Ok" in answer:
                    assert answer["Ok"]["key_material"] == self.keys[n]
                    found.add(n)
                else:
                    assert answer["Err"].startswith("subject_erased")
        return found


@pytest.mark.parametrize("subjects", [400, pytest.param(100_000, marks=[pytest.mark.heavy, pytest.mark.timeout(900)])])
def test_the_erased_open_for_nobody_and_all_others_do(
    people: People, options: AuthorityOptions, key_service: KeyService, tmp_path: Path, subjects: int
) -> None:
    """Before and after their epoch ends, and after an older backup was restored with its journal."""
    everybody = Everybody(subjects)
    everybody.write(people)
    erased = {n * 100 + 37 for n in range(subjects // 100)}
    before_backup = {n for n in erased if n % 400 == 37}
    listed = tmp_path / "listed"

    def erase(some: set[int]) -> None:
        listed.write_text("".join(f"customer_id={n}\n" for n in sorted(some)))
        asked = ["erase", "--keyset", "people", "--from", str(listed), "--yes"]
        done = CliRunner().invoke(command.app, asked, env=people.own.env, catch_exceptions=False)
        assert done.output.count("refused since") == len(some), done.output

    erase(before_backup)
    back_up(people, tmp_path)
    erase(erased - before_backup)
    left = set(range(subjects)) - erased
    assert everybody.opened(people) == left
    people.own.admin("api/epoch")
    assert everybody.opened(people) == left
    people.own.stop()

    with restored(tmp_path, key_service, options) as own:
        assert everybody.opened(People(own, client_of(own))) == left
