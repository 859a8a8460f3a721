"""From a row to what its kind gets, and to the background job that brings it on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from keycast.audit.entries import Actor
from keys.models import Rotation
from keys.rotation.protocol import RotationJob
from keys.rotation.scope import RotationScope


def scope_of(rotation: Rotation) -> RotationScope:
    """What it is about."""
    return RotationScope.stored(rotation.scope, rotation.tenant_id)


def actor_of(rotation: Rotation) -> Actor:
    """Who started it."""
    by = rotation.started_by
    return Actor(by["type"], by["id"], by["label"])


def job_of(rotation: Rotation, keep: Callable[..., RotationJob] | None = None) -> RotationJob:
    """The rotation as its kind sees it; a dry run has nothing to keep."""
    return RotationJob(
        rotation.id,
        scope_of(rotation),
        rotation.options,
        actor_of(rotation),
        rotation.created_at,
        keep or _keeps_nothing,
    )


def _keeps_nothing(**options: Any) -> RotationJob:
    raise AssertionError("a dry run stores nothing")


def enqueue_after_commit(rotation_id: UUID) -> None:
    """Have the job cluster begin as soon as the row is there."""
    transaction.on_commit(partial(enqueue, rotation_id))


def enqueue(rotation_id: UUID) -> None:
    """Have the job cluster bring it on now; without a cluster, the commands still do."""
    from django_q.tasks import async_task  # noqa: PLC0415 -- its import needs the app registry

    async_task("keys.jobs.step_rotation", str(rotation_id))
