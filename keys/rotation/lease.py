"""Who works on a rotation: one process at a time, by a lease with a fence (Rotation.owner, fence, lease_until).

A process that dies is followed by the next one when its lease runs out. One that only slept finds the fence changed
in the very transaction that would have stored its work, and undoes.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import F, Q
from django.utils import timezone

from keys.models import Rotation, RotationState
from keys.rotation.errors import RotationLeaseLost


@dataclass(frozen=True, slots=True)
class RotationLease:
    """A rotation that this process may work on, until the lease runs out unrenewed."""

    rotation_id: UUID
    fence: int

    def hold(self) -> Rotation:
        """The row, locked until the transaction ends and with its lease renewed when it is saved. Raises
        RotationLeaseLost."""
        row: Rotation | None = (
            Rotation.objects.select_for_update().filter(pk=self.rotation_id, fence=self.fence, state__in=_LIVE).first()
        )
        if row is None:
            raise RotationLeaseLost
        row.lease_until = _until()
        return row

    def release(self) -> None:
        """Let the next one have it at once."""
        Rotation.objects.filter(pk=self.rotation_id, fence=self.fence).update(lease_until=0, owner="")


_LIVE = (RotationState.PENDING, RotationState.RUNNING)


def acquire(rotation_id: UUID) -> RotationLease | None:
    """The lease, or None: it has ended, somebody else works on it, or it is to wait."""
    owner = f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(4)}"
    ready = Q(not_before__isnull=True) | Q(not_before__lte=timezone.now())
    # One conditional UPDATE decides: of two who try, only one finds the row still free.
    free = Rotation.objects.filter(ready, pk=rotation_id, state__in=_LIVE, lease_until__lt=now_ms())
    if not free.update(owner=owner, fence=F("fence") + 1, lease_until=_until()):
        return None
    # The owner's name is random for each attempt, so this is the fence of our own UPDATE, or none if that is lost
    # already.
    fence = Rotation.objects.filter(pk=rotation_id, owner=owner).values_list("fence", flat=True).first()
    return None if fence is None else RotationLease(rotation_id, fence)


def now_ms() -> int:
    """Unix time in milliseconds: the database server's where processes share it over a network."""
    if connection.vendor != "postgresql":
        return time.time_ns() // 1_000_000
    with connection.cursor() as cursor:
        cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        return int(cursor.fetchone()[0])


def _until() -> int:
    return now_ms() + int(settings.ROTATION_LEASE_SECONDS * 1000)
