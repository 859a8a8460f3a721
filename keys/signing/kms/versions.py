"""Versions of the key-encryption key: making a new one current, and retiring an old one. By keeper, as configured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from django.conf import settings

from keys.errors import ProviderNotConfigured
from keys.signing.kms.file_versions import FileVersions


class VersionKeeper(Protocol):
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


def keeper() -> VersionKeeper:
    """The keeper of the versions that fresh secrets are sealed under. Raises ProviderNotConfigured."""
    return keeper_of(settings.KEK_PROVIDER)


def keeper_of(provider: str) -> VersionKeeper:
    """By the provider's name."""
    if provider == "google":
        from keys.hsm.google.kek_versions import GoogleVersions  # noqa: PLC0415 -- Google's library takes long to import

        return GoogleVersions(settings.GCP_KEK)
    if provider != "local":
        raise ProviderNotConfigured
    return FileVersions.from_settings()


def provider_of(version: str) -> str:
    """Whose version this is: Google's are resource names, local ones have no slash."""
    return "google" if "/" in version else "local"
