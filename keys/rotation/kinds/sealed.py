"""Sealing everything anew: under a fresh version of the key-encryption key, or under another keeper of it.

Each secret is opened, checked against its public key and sealed again by whoever holds the key-encryption key
(keys.signing); what is stored here replaces exactly what was read. Old and new both open until the old version is
retired, so signing never notices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import transaction

from keycast.audit.entries import AuditEntry
from keycast.audit.services import chain_of, record
from keycast.audit.tags import AuditOutcome, AuditTag
from keycast.base import crash
from keycast.base.errors import KeycastError
from keys.errors import KekUnavailable, KeyMismatch
from keys.lifecycle import audit
from keys.lifecycle.damage import record_damage
from keys.models import PersonalKey
from keys.rotation import sealed_columns
from keys.rotation.errors import RotationError
from keys.rotation.protocol import Change, RetryLater, RotationItem, RotationJob, RotationKind
from keys.rotation.scope import RotationScope
from keys.rotation.sealed_columns import SealedRow
from keys.signing.factory import key_maker
from keys.signing.kms import versions


class KekNotCurrent(KekUnavailable):
    """The signer still seals under another version than the one that everything is to be under."""

    code = "kek-not-current"
    public_message = "The signer does not use the new key-encryption key yet."


class RewrapRotation(RotationKind):
    """Seal everything under what fresh secrets are sealed with now: after a change of version, or of its keeper."""

    slug, group, title, command = "rewrap", "sealed", "Seal every secret under the current KEK", "rewrap_keys"
    batch = 16

    @property
    def concurrency(self) -> int:  # type: ignore[override]
        """Threads help where each secret waits for a network or another process, and only there."""
        return 1 if settings.KEK_PROVIDER == "local" and not settings.SIGNER_SOCKET else 8

    def check(self, scope: RotationScope, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"version": sealed_columns.current_version()}

    def count(self, job: RotationJob) -> int:
        return sealed_columns.stale(job.scope, job.options["version"])

    def items(self, job: RotationJob, after: str, limit: int) -> Sequence[RotationItem]:
        found: list[RotationItem] = []
        number, _, last = after.partition(":")
        for index, shelf in enumerate(sealed_columns.sealed_columns()):
            if index < int(number or 0):
                continue
            rows = shelf.stale(job.scope, job.options["version"])
            if last and index == int(number):
                rows = rows.filter(pk__gt=last)
            for row in rows[: limit - len(found)]:
                key_id = row.pk if shelf.about == "pk" else row.key_id
                found.append(RotationItem(f"{index}:{row.pk.hex}", key_id, (shelf, row)))
            if len(found) >= limit:
                break
        return found

    def rotate(self, job: RotationJob, item: RotationItem) -> Change:
        shelf, row = item.row
        old: SealedRow = shelf.take(row)
        new = key_maker().rewrap(old.sealed, old.place)
        if new.kek_version != job.options["version"]:
            raise KekNotCurrent

        def change() -> bool:
            if not shelf.store(old, new):
                return False
            key: PersonalKey = row if shelf.about == "pk" else row.key
            seals: dict[str, Any] = {"what": shelf.name, "from": old.sealed.kek_version, "to": new.kek_version}
            audit.write(key, AuditTag.KEY_REWRAPPED, job.actor, **seals)
            return True

        return change

    def failed(self, job: RotationJob, item: RotationItem, error: KeycastError) -> None:
        """Material of another key is an attack or a disaster: its key is set aside at once (threats K5)."""
        if isinstance(error, KeyMismatch):
            record_damage(item.key_id, error)

    def finish(self, job: RotationJob) -> Mapping[str, Any] | RetryLater:
        return {"version": job.options["version"]}


class KekRotation(RewrapRotation):
    """Make a new version of the key-encryption key, then seal everything under it. The old version stays, until
    ``retire_kek``.
    """

    slug, title, command = "kek", "Rotate the key-encryption key", "rotate_kek"

    def check(self, scope: RotationScope, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """With a version to make, or, where it cannot be made from here but somebody made one, the one that is current.

        Raises KekUnavailable, and RotationError that says what to do by hand.
        """
        keeper = versions.kek_version_manager()
        if not (problem := keeper.problem()):
            return {"plan": dict(keeper.plan()), "version": ""}
        version = sealed_columns.current_version()
        if not sealed_columns.stale(scope, version):
            raise RotationError(problem, code="kek-not-writable")
        return {"version": version}

    def prepare(self, job: RotationJob) -> None:
        if job.options["version"]:
            return
        keeper = versions.kek_version_manager()
        version = keeper.make(job.options["plan"])
        crash.point("switched")
        with transaction.atomic():
            job.keep(version=version, settles=keeper.settle_seconds)
            facts = {"version": version, "rotation": job.id.hex}
            record(AuditEntry(chain_of(None), AuditTag.KEK_ROTATED, AuditOutcome.OK, job.actor, data=facts))

    def finish(self, job: RotationJob) -> Mapping[str, Any] | RetryLater:
        """Processes may use the old version for a little while after the switch; what they made meanwhile is found."""
        settles = float(job.options.get("settles", 0))
        if settles:
            job.keep(settles=0)
            return RetryLater(settles)
        older = sorted(set(sealed_columns.references()) - {job.options["version"]})
        notes = [f"{version} is still there: manage.py retire_kek {version}" for version in older]
        unused = [version for version in versions.kek_version_manager().others() if version not in older]
        notes += [f"Nothing is sealed under {version} any more: manage.py retire_kek {version}" for version in unused]
        return {"version": job.options["version"], "notes": notes}
