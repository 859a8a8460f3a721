"""Forgets what has been remembered long enough: requests after 24 hours, changes after one. In small batches."""

from __future__ import annotations

import time

from django.db import connection

from bunker.models import Change, Request

BATCH = 1_000
KEEP_CHANGES_MS = 3_600_000


def prune(limit: int = 20 * BATCH) -> int:
    """Delete overdue rows, at most about ``limit``; how many there were. Blocks, but never long."""
    now = time.time_ns() // 1_000_000
    deleted = 0
    while deleted < limit:
        overdue = list(
            Request.objects.filter(expires_at__lt=now).order_by("expires_at").values_list("event_id", flat=True)[:BATCH]
        )
        if overdue:
            Request.objects.filter(event_id__in=overdue)._raw_delete(connection.alias)
            deleted += len(overdue)
        if len(overdue) < BATCH:
            break
    old = list(Change.objects.filter(at__lt=now - KEEP_CHANGES_MS).order_by("id").values_list("id", flat=True)[:BATCH])
    if old:
        Change.objects.filter(id__in=old).delete()
    return deleted + len(old)
