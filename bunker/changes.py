"""The outbox that workers follow: a row in the same transaction as the change, and a hint once it is committed.

The row is the truth (workers poll it, bunker.worker.reconciler); the hint only saves waiting for the next poll.
"""

from __future__ import annotations

import time
from enum import StrEnum
from uuid import UUID

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.db import connection, transaction

from bunker.models import Change

CONTROL_GROUP = "bunker.control"


class ChangeKind(StrEnum):
    """What changed; the object id says which one."""

    CONNECTION = "connection"
    TRANSPORT = "transport"
    KEY = "key"
    USER = "user"
    TENANT = "tenant"
    DEPLOYMENT = "deployment"


def publish(kind: ChangeKind, object_id: UUID) -> None:
    """Tell every worker that something changed. Call inside the transaction that changes it.

    Nothing reaches a worker if that transaction rolls back.
    """
    Change.objects.create(kind=kind.value, object_id=object_id.hex, at=time.time_ns() // 1_000_000)
    if not any(queued[1] is _hint for queued in connection.run_on_commit):  # one hint for a transaction is enough
        transaction.on_commit(_hint, robust=True)


def _hint() -> None:
    layer = get_channel_layer()
    if layer is not None:
        async_to_sync(layer.group_send)(CONTROL_GROUP, {"type": "bunker.changed"})
