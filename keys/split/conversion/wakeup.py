"""Has jobs bring a conversion on soon; the schedule finds it if this gets lost."""

from __future__ import annotations

from functools import partial
from uuid import UUID

from django.db import transaction


def enqueue_after_commit(key_id: UUID) -> None:
    """After the present transaction."""
    transaction.on_commit(partial(_enqueue, key_id))


def _enqueue(key_id: UUID) -> None:
    from django_q.tasks import async_task  # noqa: PLC0415 -- its import needs the app registry

    async_task("keys.jobs.advance_conversion", str(key_id))
