"""Versions of the key-encryption key in OpenBao, made by its own rotation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from keys.errors import KekUnavailable
from keys.hsm.openbao.kek import CURRENT_KEPT_SECONDS, OpenBaoKekProvider
from keys.signing.kms import registry


class OpenBaoKekVersions:
    """A KekVersionManager (keys.signing.kms.versions)."""

    settle_seconds = CURRENT_KEPT_SECONDS + 5.0

    def __init__(self, key: str) -> None:
        self._key, self._provider = key, OpenBaoKekProvider(key)

    def problem(self) -> str:
        return ""

    def plan(self) -> Mapping[str, str]:
        return {"before": self._latest()}

    def make(self, plan: Mapping[str, str]) -> str:
        """The version after the one that was the latest; one that a killed run made is the same."""
        if self._latest() == plan["before"]:
            self._provider.rotate()
        registry.reset()  # this process forgets at once which version was current
        return self._latest()

    def others(self) -> tuple[str, ...]:
        return self._provider.known_versions()[:-1]

    def by_hand(self, version: str) -> str:
        """OpenBao retires all versions below a number, so an operator there does it."""
        later = (self._provider.number_of(version) or 0) + 1
        where = f"transit/keys/{self._key}/config min_decryption_version={later}"
        return f"Nothing is sealed under {version}. When that is so of all versions before it: bao write {where}"

    def is_settled(self) -> bool:
        return True  # nothing is taken away from here

    def archive(self, version: str, path: Path) -> None:
        raise KekUnavailable("OpenBao keeps its versions itself: a retired one can be brought back.")

    def retire(self, version: str) -> None:
        raise KekUnavailable(self.by_hand(version))

    def _latest(self) -> str:
        return self._provider.known_versions()[-1]
