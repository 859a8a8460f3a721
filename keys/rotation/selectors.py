"""Rotations for lists, pages and looks at health."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from keys.models import Rotation, RotationState
from keys.rotation.errors import RotationNotFound
from keys.rotation.services import UNFINISHED

__all__ = ["UNFINISHED", "latest", "left_failed", "rotation_of", "rotations", "stalled", "unfinished"]

STALLED_AFTER: Final = timedelta(minutes=5)
REMEMBERED: Final = timedelta(days=7)


def rotations(*, tenant_id: UUID | None = None) -> QuerySet[Rotation]:
    """Newest first; of one tenant and its keys alone where ``tenant_id`` is given."""
    found = Rotation.objects.all()
    return found.filter(tenant_id=tenant_id) if tenant_id is not None else found


def unfinished() -> QuerySet[Rotation]:
    """Those that are to be worked on, oldest first."""
    return Rotation.objects.filter(state__in=UNFINISHED).order_by("created_at")


def rotation_of(rotation_id: UUID) -> Rotation:
    """One of them. Raises RotationNotFound."""
    found = Rotation.objects.filter(pk=rotation_id).first()
    if found is None:
        raise RotationNotFound
    return found


def latest(kind: str, scope: str) -> Rotation | None:
    """The newest of this kind and scope that is no dry run."""
    return Rotation.objects.filter(kind=kind, scope=scope, is_dry_run=False).first()


def stalled(now: datetime | None = None) -> list[Rotation]:
    """Unfinished ones that have not come on for a while."""
    before = (now or timezone.now()) - STALLED_AFTER
    return list(unfinished().filter(heartbeat_at__lt=before))


def left_failed(now: datetime | None = None) -> list[Rotation]:
    """Those of the last days that ended with failures, with none of their kind and scope since."""
    since = (now or timezone.now()) - REMEMBERED
    newer = Rotation.objects.filter(
        kind=OuterRef("kind"), scope=OuterRef("scope"), is_dry_run=False, created_at__gt=OuterRef("created_at")
    )
    failed = Rotation.objects.filter(state=RotationState.FAILED, ended_at__gt=since)
    return list(failed.exclude(Exists(newer))[:10])
