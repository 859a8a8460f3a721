"""Another HSM key for each split key, under the same Nostr key (keys.split.succession has the steps)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db.models import Max, Q, QuerySet

from accounts.models import KeyMode
from keys.errors import KeyModeUnavailable
from keys.hsm import registration
from keys.hsm.protocol import HsmKeyManager
from keys.models import HalfRefresh, KeyState, PersonalKey
from keys.models.hsm import SuccessionStep
from keys.rotation.errors import NothingToRotate
from keys.rotation.protocol import Change, RetryLater, RotationItem, RotationJob, RotationKind
from keys.rotation.scope import RotationScope
from keys.signing.cosigning.errors import HsmKeyPending, SuccessorWaits
from keys.split import halves, refresh, succession

SETTLE_SECONDS: Final = 20.0
PENDING_SECONDS: Final = 3.0


class HsmKeyRotation(RotationKind):
    """Of one group with the renewal of halves: the co-signer takes one change of a key at a time."""

    slug, group, title, command = "kms-key", "halves", "Replace the HSM keys of split keys", "rotate_kms_key"
    batch = 1

    def check(self, scope: RotationScope, options: Mapping[str, Any]) -> Mapping[str, Any]:
        if not _split(scope).exists():
            raise NothingToRotate("There is no such split key.")
        for provider in set(_split(scope).order_by().values_list("hsm_provider", flat=True)):
            _keeper(provider)
        return {}

    def count(self, job: RotationJob) -> int:
        return _left(job).count()

    def items(self, job: RotationJob, after: str, limit: int) -> Sequence[RotationItem]:
        """A key whose halves are still settling comes later: ``finish`` waits for it."""
        found = _left(job).exclude(pk__in=HalfRefresh.objects.values("key_id"))
        if after:
            found = found.filter(pk__gt=after)
        return [RotationItem(key.id.hex, key.id, key) for key in found[:limit]]

    def rotate(self, job: RotationJob, item: RotationItem) -> Change | None:
        """The HSM may take minutes for a key; the others are asked for meanwhile."""
        key: PersonalKey = item.row
        authoriser = halves.authoriser_of(key.hsm_provider)
        try:
            succession.succeed(actor=job.actor, key=key, authoriser=authoriser, keeper=_keeper(key.hsm_provider))
        except HsmKeyPending:
            return lambda: False
        except SuccessorWaits:
            return lambda: False  # a job goes on with it when its day has come (keys.split.maintenance)
        return None

    def finish(self, job: RotationJob) -> Mapping[str, Any] | RetryLater:
        if _left(job).filter(half_refresh__isnull=False).exists():
            refresh.finish_due()
            return RetryLater(SETTLE_SECONDS)
        if _left(job).filter(succession__step=SuccessionStep.NAMED).exists():
            return RetryLater(PENDING_SECONDS)
        minutes = int(succession.GRACE.total_seconds() // 60)
        notes = [f"The old HSM keys are disabled {minutes} minutes after the switch, by a job."]
        waiting = _left(job).filter(succession__step=SuccessionStep.WAITING)
        if last := waiting.aggregate(until=Max("succession__waits_until"))["until"]:
            told = f"{waiting.count()} wait at the co-signer, until {last:%Y-%m-%d %H:%M} UTC at the latest"
            notes.append(f"{told}: their owners were told, and may refuse. Jobs go on with them then.")
        return {"notes": notes}


def _keeper(provider: str) -> HsmKeyManager:
    keeper = registration.hsm_key_managers().get(provider)
    if keeper is None:
        raise KeyModeUnavailable
    return keeper


def _split(scope: RotationScope) -> QuerySet[PersonalKey]:
    found: QuerySet[PersonalKey] = PersonalKey.objects.filter(scope.keys(), key_mode=KeyMode.HSM, state=KeyState.ACTIVE)
    return found.exclude(cosigner_public_key="").order_by("pk")


def _left(job: RotationJob) -> QuerySet[PersonalKey]:
    """Those that have the HSM key they had when the rotation was asked for."""
    before = Q(authoriser_since__isnull=True) | Q(authoriser_since__lt=job.created_at)
    return _split(job.scope).filter(before, created_at__lt=job.created_at)
