"""One process at a time works on a conversion; one that died gives way after LEASE."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db.models import Q
from django.utils import timezone

from keys.models import Conversion

LEASE: Final = timedelta(seconds=60)
"""Longer than all that a process asks of others in one go: each wait is bounded."""


@contextmanager
def conversion_lease(key_id: UUID) -> Iterator[Conversion | None]:
    """The conversion, ours for a while; None when there is none, or another process has it."""
    now = timezone.now()
    until = now + LEASE
    free = Q(busy_until__isnull=True) | Q(busy_until__lt=now)
    if not Conversion.objects.filter(free, key_id=key_id).update(busy_until=until):
        yield None
        return
    try:
        yield Conversion.objects.select_related("key", "key__tenant", "key__user").filter(key_id=key_id).first()
    finally:
        Conversion.objects.filter(key_id=key_id, busy_until=until).update(busy_until=None)
