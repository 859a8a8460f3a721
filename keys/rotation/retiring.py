"""The end of an old version of the key-encryption key: when nothing is sealed under it any more, and only then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from django.db import transaction
from django_scopes import scopes_disabled

from keycast.audit.entries import Actor, AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keys import access
from keys.models import Rotation
from keys.rotation import sealed_columns
from keys.rotation.errors import KeyRotationRunning, RotationError
from keys.rotation.services import UNFINISHED
from keys.signing.kms import versions

BACKUPS: Final = (
    "Backups of the database from before the rotation open with this version alone. As long as you keep such a backup, "
    "keep the version too, apart from this server."
)


class KekInUse(RotationError):
    """Secrets are sealed under this version, or fresh ones are; retiring it would lose them (threats K9)."""

    code = "kek-in-use"
    public_message = "Secrets are still sealed under this key-encryption key."


@dataclass(frozen=True, slots=True)
class KekRetirement:
    """What was, or with a dry run would be, done."""

    version: str
    provider: str
    references: int
    is_dry_run: bool
    warning: str = BACKUPS

    def as_dict(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "provider": self.provider,
            "references": self.references,
            "dry_run": self.is_dry_run,
            "warning": self.warning,
        }


def retire_kek(*, actor: Actor, version: str, archive: Path | None = None, dry_run: bool = False) -> KekRetirement:
    """Take an old version out of the local file (first into ``archive``, if given), or disable it in Cloud KMS.

    Raises NotPermitted, KekInUse, KeyRotationRunning, KekUnavailable.
    """
    access.require_platform(actor)
    provider = versions.provider_of(version)
    _refuse_if_needed(version)
    found = KekRetirement(version, provider, 0, dry_run)
    if dry_run:
        return found
    keeper = versions.kek_version_manager_of(provider)
    if advice := keeper.by_hand(version):
        raise RotationError(advice, code="kek-elsewhere")
    if version not in keeper.others():
        raise RotationError("There is no such old version of the key-encryption key.", code="kek-unknown")
    # A process that has not read the changed file yet still seals under this version; with an archive nothing of that
    # is lost.
    if archive is None and not keeper.is_settled():
        raise RotationError("The key file was changed a moment ago. Wait a minute, or keep it with --archive.")
    # On record before it goes: a crash in between leaves an intent without an end, not nothing.
    _note(actor, version, AuditOutcome.INTENT)
    # The copy first: after retiring there is nothing to copy.
    if archive is not None:
        keeper.archive(version, archive)
    keeper.retire(version)
    _note(actor, version, AuditOutcome.OK)
    return found


def _refuse_if_needed(version: str) -> None:
    # A KEK version is in use as long as any tenant's secret is sealed under it.
    with scopes_disabled():
        held = sealed_columns.references().get(version, {})
        if held:
            counts = ", ".join(f"{count} {what}" for what, count in sorted(held.items()))
            raise KekInUse(f"Still sealed under {version}: {counts}. Run: manage.py rewrap_keys --all")
        if Rotation.objects.filter(group="sealed", state__in=UNFINISHED).exists():
            raise KeyRotationRunning("A rotation of the key-encryption key is running. Wait for it.")
    if sealed_columns.current_version() == version:
        raise KekInUse(f"{version} is current: fresh secrets are sealed under it.")


@transaction.atomic
def _note(actor: Actor, version: str, outcome: AuditOutcome) -> None:
    record(AuditEntry(chain_of(None), AuditTag.KEK_RETIRED, outcome, actor, data={"version": version}))
