"""Data keys that one call was given, and wipes when it ends."""

from __future__ import annotations

from collections.abc import Sequence

from worker.model import DataKey, KeyRefused
from worker.native.keys import wipe
from worker.native.requests import NativeAnswers


class GivenKeys:
    """What a call holds; not thread-safe."""

    def __init__(self) -> None:
        self._given: list[Sequence[DataKey] | NativeAnswers] = []

    def keep(self, keys: Sequence[DataKey]) -> None:
        """Take keys over."""
        self._given.append(keys)

    def keep_answers(self, answers: Sequence[DataKey | KeyRefused]) -> None:
        """Take over the keys among answers."""
        if isinstance(answers, NativeAnswers):
            self._given.append(answers)
        else:
            self.keep([key for key in answers if isinstance(key, DataKey)])

    def wipe(self) -> None:
        """Wipe all of them."""
        for given in self._given:
            if isinstance(given, NativeAnswers):
                given.wipe()
            else:
                wipe(given)
        self._given.clear()
