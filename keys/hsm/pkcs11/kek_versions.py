"""Versions of the key-encryption key in a token: a new key for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from keys.errors import KekUnavailable
from keys.hsm.pkcs11.kek import CURRENT_KEPT_SECONDS, Pkcs11KekProvider, label_of, number_of
from keys.signing.kms import registry

_NOBODY: Final = UUID(int=0)
"""Versions are the same for every tenant."""


class Pkcs11KekVersions:
    """A KekVersionManager (keys.signing.kms.versions)."""

    settle_seconds = CURRENT_KEPT_SECONDS + 5.0

    def __init__(self, base: str) -> None:
        self._base, self._provider = base, Pkcs11KekProvider(base)

    def problem(self) -> str:
        return ""

    def plan(self) -> Mapping[str, str]:
        return {"before": self._provider.current_version(_NOBODY)}

    def make(self, plan: Mapping[str, str]) -> str:
        """The version after the one that was current; one that a killed run made is the same."""
        number = number_of(plan["before"], self._base)
        if number is None:
            raise KekUnavailable("This rotation was begun with another KEYCAST_PKCS11_KEK.")
        made = self._provider.make(number + 1)
        registry.reset()  # this process forgets at once which version was current
        return made

    def others(self) -> tuple[str, ...]:
        return self._provider.known_versions()[:-1]

    def by_hand(self, version: str) -> str:
        """A key that was deleted cannot come back, so an operator at the token does it."""
        return f"Nothing is sealed under {version}. Delete the key “{label_of(version)}” in the token."

    def is_settled(self) -> bool:
        return True  # nothing is taken away from here

    def archive(self, version: str, path: Path) -> None:
        raise KekUnavailable("A key in a token cannot be taken out: back the token up by its own means.")

    def retire(self, version: str) -> None:
        raise KekUnavailable(self.by_hand(version))
