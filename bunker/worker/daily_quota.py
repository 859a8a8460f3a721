"""How much each tenant has signed today, and whether it may sign more: decided in memory, without a query.

Each worker knows what it signed itself at once, and what others signed as of the last flush, about a second ago, which
also writes its own. So one worker never goes beyond a bound; each further one may by what it signs within two seconds.
A worker that is killed forgets what it signed since its last flush: at most about a second's worth.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import Error, transaction
from django.db.models import F
from django_scopes import scopes_disabled

from accounts.models import TenantDay
from bunker.worker.records import TenantRecord

log = structlog.get_logger(__name__)

FLUSH_SECONDS: Final = 1.0
STOPPING_SECONDS: Final = 3.0
_DAY: Final = 86_400
_EPOCH: Final = datetime.date(1970, 1, 1)

TenantDayKey = tuple[UUID, int]
"""A tenant and a day, counted from 1970-01-01 UTC."""
Execute = Callable[[Callable[[], Any]], Awaitable[Any]]


class _DailyUsage:
    """One tenant's day: ``written`` by everybody at the last look, ``taken`` here since, those in flight included."""

    __slots__ = ("day", "taken", "written")

    def __init__(self, day: int) -> None:
        self.day = day
        self.written = 0
        self.taken = 0


class DailyQuota:
    """Counts in the event loop only; ``execute`` runs what queries. ``tenants`` are those that this worker serves."""

    def __init__(
        self, tenants: Callable[[], Collection[TenantRecord]], execute: Execute, clock: Callable[[], float] = time.time
    ) -> None:
        self._tenants = tenants
        self._execute = execute
        self._clock = clock
        self._today: dict[UUID, _DailyUsage] = {}
        self._unwritten: Counter[TenantDayKey] = Counter()
        self._lock = asyncio.Lock()

    def take(self, tenant: TenantRecord) -> bool:
        """Reserve one signature; False when the tenant has none left today. Follow it with ``settle``."""
        today = self._of(tenant.id)
        limit = tenant.max_signatures
        if limit is not None and today.written + today.taken >= limit:
            return False
        today.taken += 1
        return True

    def settle(self, tenant: TenantRecord, *, is_signed: bool) -> None:
        """Say what came of a reservation."""
        today = self._of(tenant.id)
        if is_signed:
            # It goes on counting as reserved here until a flush has made it part of what is stored; else it could be
            # signed a second time.
            self._unwritten[tenant.id, today.day] += 1
        # The day may have changed since it was reserved: the new one has nothing to give back.
        elif today.taken:
            today.taken -= 1

    def add(self, tenant: TenantRecord) -> None:
        """Count a signature that was allowed before this worker began."""
        self._of(tenant.id).taken += 1
        self.settle(tenant, is_signed=True)

    async def run(self) -> None:
        """Flush about once a second; returns never. A database that is away is tried again."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                await self.flush()
            except Error as error:
                log.warning("signatures_not_counted", error=type(error).__name__, tenants=len(self._unwritten))

    async def flush(self) -> None:
        """Write what is new, and read what bounded tenants have signed everywhere. Raises django.db.Error."""
        async with self._lock:
            day = self._day()
            wanted = {tenant.id for tenant in self._tenants() if tenant.max_signatures is not None}
            # A copy: the loop goes on counting while a thread writes, and what comes meanwhile is for the next flush.
            new = dict(self._unwritten)
            if not new and not wanted:
                return
            totals: dict[UUID, int] = await self._execute(partial(_store, new, wanted, day))
            # Only after the commit: what could not be written stays, and is written by the next flush.
            self._unwritten.subtract(new)
            self._unwritten = +self._unwritten
            for (tenant_id, counted_on), count in new.items():
                today = self._today.get(tenant_id)
                if today is not None and today.day == counted_on:
                    today.taken -= min(count, today.taken)
            for tenant_id in wanted:
                today = self._of(tenant_id)
                if today.day == day:
                    today.written = totals.get(tenant_id, 0)

    async def finish(self) -> None:
        """Write the last of it before the worker ends; gives up after a few seconds."""
        try:
            await asyncio.wait_for(self.flush(), STOPPING_SECONDS)
        except (Error, TimeoutError) as error:
            log.warning("signatures_not_counted", error=type(error).__name__, tenants=len(self._unwritten))

    def _of(self, tenant_id: UUID) -> _DailyUsage:
        day = int(self._clock()) // _DAY
        today = self._today.get(tenant_id)
        if today is None or today.day != day:
            today = self._today[tenant_id] = _DailyUsage(day)
        return today

    def _day(self) -> int:
        return int(self._clock()) // _DAY


def _store(new: dict[TenantDayKey, int], wanted: set[UUID], day: int) -> dict[UUID, int]:
    """Add to the days, then read today's totals, in one transaction. Blocks."""
    # One flush writes what all tenants have signed.
    with scopes_disabled(), transaction.atomic():
        # In one order, so that the flushes of two workers cannot wait for each other in a circle.
        for (tenant_id, counted_on), count in sorted(new.items()):
            _add(tenant_id, _EPOCH + datetime.timedelta(days=counted_on), count)
        rows = TenantDay.objects.filter(tenant_id__in=wanted, day=_EPOCH + datetime.timedelta(days=day))
        return dict(rows.values_list("tenant_id", "signatures"))


def _add(tenant_id: UUID, day: datetime.date, count: int) -> None:
    rows = TenantDay.objects.filter(tenant_id=tenant_id, day=day)
    # Once a day for each tenant there is no row yet. Who makes it does not matter: both add to it afterwards.
    if not rows.update(signatures=F("signatures") + count):
        TenantDay.objects.bulk_create([TenantDay(tenant_id=tenant_id, day=day)], ignore_conflicts=True)
        rows.update(signatures=F("signatures") + count)
