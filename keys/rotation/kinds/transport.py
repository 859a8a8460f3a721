"""A fresh remote-signer key for each personal key. Connected apps stay where they are: see docs/key-rotation.md.

An app knows its signer by the remote-signer key's public key (NIP-46), so no app can follow by itself. The old key
goes on serving the apps that are connected to it, until the last of them ends, or until the grace period is over.
New bunker URLs name the new key.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from django.db.models import Q, QuerySet
from django.utils import timezone

from keycast.audit.tags import AuditTag
from keys import SHARDS
from keys.lifecycle import audit
from keys.models import KeyState, TransportKey
from keys.refs import SecretPurpose
from keys.rotation.errors import RotationError
from keys.rotation.protocol import Change, RotationItem, RotationJob, RotationKind
from keys.rotation.scope import RotationScope
from keys.signing.factory import key_maker
from keys.signing.protocol import NewKey

MAX_GRACE_DAYS: Final = 3650
_KEPT: Final = (KeyState.ACTIVE, KeyState.LOCKED, KeyState.DISABLED)


class TransportKeyRotation(RotationKind):
    """Option ``grace_days``: after so many days the apps on the old key are revoked; None: never."""

    slug, group, title = "transport", "transport", "Replace remote-signer keys"
    command = "rotate_transport_keys"
    concurrency = 4

    def check(self, scope: RotationScope, options: Mapping[str, Any]) -> Mapping[str, Any]:
        days = options.get("grace_days")
        if days is not None and not 0 <= int(days) <= MAX_GRACE_DAYS:
            raise RotationError(f"The grace period is between 0 and {MAX_GRACE_DAYS} days.", code="grace-period")
        return {"grace_days": None if days is None else int(days)}

    def count(self, job: RotationJob) -> int:
        return _left(job).count()

    def items(self, job: RotationJob, after: str, limit: int) -> Sequence[RotationItem]:
        found = _left(job).filter(pk__gt=after) if after else _left(job)
        return [RotationItem(row.id.hex, row.key_id, row) for row in found[:limit]]

    def rotate(self, job: RotationJob, item: RotationItem) -> Change:
        old, fresh_id, purpose = item.row, uuid4(), SecretPurpose.TRANSPORT_KEY
        made = key_maker().generate(tenant_id=old.tenant_id, row_id=fresh_id, parent_id=old.key_id, purpose=purpose)

        def change() -> bool:
            row = TransportKey.objects.select_for_update(of=("self",)).select_related("key").get(pk=old.id)
            if not row.is_current or row.key.state not in _KEPT:
                return False
            _replace(row, _fresh(row, made, fresh_id), job)
            return True

        return change


def _left(job: RotationJob) -> QuerySet[TransportKey]:
    """Current ones that are older than the rotation."""
    keys = job.scope.keys()
    found = TransportKey.objects.filter(is_current=True, retired_at=None, key__state__in=_KEPT)
    found = found.filter(created_at__lt=job.created_at)
    if job.scope.key_id is not None:
        found = found.filter(key_id=job.scope.key_id)
    elif job.scope.tenant_id is not None:
        found = found.filter(keys)
    return found.order_by("pk")


def _fresh(old: TransportKey, made: NewKey, fresh_id: Any) -> TransportKey:
    return TransportKey(
        id=fresh_id,
        tenant_id=old.tenant_id,
        key_id=old.key_id,
        public_key=made.public_key,
        encrypted_secret_key=made.sealed.blob,
        kek_provider=made.sealed.provider,
        kek_version=made.sealed.kek_version,
        shard=secrets.randbelow(SHARDS),
    )


def _replace(old: TransportKey, fresh: TransportKey, job: RotationJob) -> None:
    days = job.options["grace_days"]
    until = None if days is None else timezone.now() + timedelta(days=days)
    old.is_current, old.ends_at = False, until
    old.save(update_fields=["is_current", "ends_at"])
    fresh.save(force_insert=True)
    if until is not None:  # nor do those that were replaced before serve any longer
        later = Q(ends_at__isnull=True) | Q(ends_at__gt=until)
        TransportKey.objects.filter(later, key_id=old.key_id, is_current=False, retired_at=None).update(ends_at=until)
    ends_at = until.isoformat() if until else ""
    facts: dict[str, Any] = {"old": old.public_key, "new": fresh.public_key, "ends_at": ends_at}
    audit.write(old.key, AuditTag.TRANSPORT_KEY_ROTATED, job.actor, **facts)
