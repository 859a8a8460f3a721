"""Versions of the key-encryption key: making a new one current, and retiring an old one. By keeper, as configured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from django.conf import settings

from keys.errors import ProviderNotConfigured
from keys.signing.kms.file_versions import FileKekVersions


class KekVersionManager(Protocol):
    """Where new secrets' key-encryption key lives (``KEYCAST_KEK_PROVIDER``)."""

    settle_seconds: float
    """For so long after a switch, some process may still seal under the old version."""

    def problem(self) -> str:
        """Why no version can be made from here, and what to do instead; empty when it can."""
        ...

    def plan(self) -> Mapping[str, str]:
        """What ``make`` needs to be repeatable. Changes nothing. Raises KekUnavailable."""
        ...

    def make(self, plan: Mapping[str, str]) -> str:
        """A new version, current from now on; the same one however often it is called. Raises KekUnavailable."""
        ...

    def others(self) -> tuple[str, ...]:
        """Every version that can still open something, but the current one. Raises KekUnavailable."""
        ...

    def by_hand(self, version: str) -> str:
        """How to retire it by hand, where that cannot be done from here; empty where it can."""
        ...

    def is_settled(self) -> bool:
        """Whether the last switch is so long ago that nothing sealed before it can still be on its way to a row."""
        ...

    def archive(self, version: str, path: Path) -> None:
        """Keep an old version in a new file. Raises KekUnavailable, also where versions cannot be taken out."""
        ...

    def retire(self, version: str) -> None:
        """Make an old version open nothing from here on. Repeatable. Raises KekUnavailable."""
        ...


def kek_version_manager() -> KekVersionManager:
    """The keeper of the versions that fresh secrets are sealed under. Raises ProviderNotConfigured."""
    return kek_version_manager_of(settings.KEK_PROVIDER)


def register(provider: str, make: Callable[[], KekVersionManager], owns: Callable[[str], bool]) -> None:
    """Make the keeper of a provider known; ``owns`` says whether a version is one of its, by the version's name."""
    _keepers[provider] = make
    _owns[provider] = owns


def known() -> tuple[str, ...]:
    """Every provider of key-encryption keys that there is, set up or not."""
    return tuple(_keepers)


def kek_version_manager_of(provider: str) -> KekVersionManager:
    """By the provider's name. Raises ProviderNotConfigured."""
    if provider not in _keepers:
        raise ProviderNotConfigured
    return _keepers[provider]()


def provider_of(version: str) -> str:
    """Whose version this is; a local one is nobody else's."""
    return next((name for name, owns in _owns.items() if owns(version)), LOCAL)


LOCAL: Final = "local"
_keepers: dict[str, Callable[[], KekVersionManager]] = {LOCAL: FileKekVersions.from_settings}
_owns: dict[str, Callable[[str], bool]] = {}
