"""Fresh halves for split keys, under the same public key (keys.split.refresh has the steps)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import Q, QuerySet

from accounts.models import KeyMode
from keys.models import HalfRefresh, KeyState, PersonalKey, RefreshStep
from keys.rotation.errors import NothingToRotate
from keys.rotation.protocol import RetryLater, RotationItem, RotationJob, RotationKind
from keys.rotation.scope import RotationScope
from keys.split import refresh
from keys.split.halves import authoriser_of

SETTLE_SECONDS = 20.0


class HalfRefreshRotation(RotationKind):
    """Each key takes an HSM operation and a word with the co-signer; both pairs of halves sign meanwhile."""

    slug, group, title, command = "halves", "halves", "Renew the halves of split keys", "refresh_halves"
    batch = 1

    def check(self, scope: RotationScope, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if not _split(scope).exists():
            raise NothingToRotate("There is no such split key.")
        return {}

    def count(self, job: RotationJob) -> int:
        return _left(job).count()

    def items(self, job: RotationJob, after: str, limit: int) -> Sequence[RotationItem]:
        """A key whose last refresh is still settling comes later: ``finish`` waits for it."""
        settling = HalfRefresh.objects.filter(step=RefreshStep.SWITCHED).values("key_id")
        found = _left(job).exclude(pk__in=settling).exclude(succession__isnull=False)
        if after:
            found = found.filter(pk__gt=after)
        return [RotationItem(key.id.hex, key.id, key) for key in found[:limit]]

    def rotate(self, job: RotationJob, item: RotationItem) -> None:
        key: PersonalKey = item.row
        refresh.refresh(actor=job.actor, key=key, authoriser=authoriser_of(key.hsm_provider))

    def finish(self, job: RotationJob) -> Mapping[str, Any] | RetryLater:
        settling = Q(half_refresh__step=RefreshStep.SWITCHED) | Q(succession__isnull=False)
        if _left(job).filter(settling).exists():
            refresh.finish_due()
            return RetryLater(SETTLE_SECONDS)
        minutes = int(refresh.GRACE.total_seconds() // 60)
        return {"notes": [f"The old halves are destroyed {minutes} minutes after the switch, by a job."]}


def _split(scope: RotationScope) -> QuerySet[PersonalKey]:
    found: QuerySet[PersonalKey] = PersonalKey.objects.filter(scope.keys(), key_mode=KeyMode.HSM, state=KeyState.ACTIVE)
    return found.exclude(cosigner_public_key="").order_by("pk")


def _left(job: RotationJob) -> QuerySet[PersonalKey]:
    """Those without a refresh since the rotation was asked for."""
    before = Q(halves_refreshed_at__isnull=True) | Q(halves_refreshed_at__lt=job.created_at)
    return _split(job.scope).filter(before, created_at__lt=job.created_at)
