"""How much a tenant may have: set by staff, else by the deployment (KEYCAST_TENANT_QUOTAS), else without bound.

The apps above tell how to count what is theirs (``register``); whoever adds something asks ``require_room`` first,
inside the transaction that adds it. Signatures a day are counted by the workers (bunker.worker.daily_quota).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from django.conf import settings
from django.utils import timezone
from django_scopes import scope

from accounts.models import Membership, Tenant, TenantDay
from keycast.base.errors import KeycastError


class Quota(StrEnum):
    """What is bounded; the name in KEYCAST_TENANT_QUOTAS, and ``max_<name>`` of a tenant."""

    MEMBERS = "members"
    KEYS = "keys"
    APPS = "apps"
    SIGNATURES = "signatures"
    RELAYS = "relays"


LABELS: Final[dict[Quota, str]] = {
    Quota.MEMBERS: "Members",
    Quota.KEYS: "Keys",
    Quota.APPS: "Connected apps",
    Quota.SIGNATURES: "Signatures today",
    Quota.RELAYS: "Relays of its own",
}
_LABELS: Final[dict[Quota, str]] = {
    Quota.MEMBERS: "people",
    Quota.KEYS: "keys",
    Quota.APPS: "connected apps",
    Quota.SIGNATURES: "signatures a day",
    Quota.RELAYS: "relays of its own",
}
NEARLY: Final = 0.8
Counter = Callable[[Tenant], int]


class QuotaReached(KeycastError):
    """The tenant has no room for more of something."""

    code = "quota-reached"
    public_message = "This community has reached a limit that its operator set."
    http_status = 409


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of a quota is used. ``limit`` is None where there is no bound."""

    quota: Quota
    used: int
    limit: int | None

    @property
    def label(self) -> str:
        return LABELS[self.quota]

    @property
    def percent(self) -> int:
        return 0 if not self.limit else min(100, self.used * 100 // self.limit)

    @property
    def level(self) -> str:
        """``full``, ``nearly`` or ``fine``."""
        if self.limit is None:
            return "fine"
        return "full" if self.used >= self.limit else "nearly" if self.used >= NEARLY * self.limit else "fine"


def limit_of(tenant: Tenant, quota: Quota) -> int | None:
    """The bound that holds for the tenant; None for no bound."""
    return bound(getattr(tenant, f"max_{quota.value}"), quota)


def bound(own: int | None, quota: Quota) -> int | None:
    """A tenant's own bound, or the deployment's where it has none."""
    if own is not None:
        return own
    common: int | None = settings.TENANT_QUOTAS.get(quota.value)
    return common


def used(tenant: Tenant, quota: Quota) -> int:
    """How much there is now."""
    counter = _counters.get(quota)
    return counter(tenant) if counter else 0


def usage_of(tenant: Tenant) -> list[Usage]:
    """Every quota of the tenant with how much of it is used; one query each."""
    return [Usage(quota, used(tenant, quota), limit_of(tenant, quota)) for quota in Quota]


def require_room(tenant: Tenant, quota: Quota, more: int = 1) -> None:
    """Raise QuotaReached unless ``more`` fit. Locks a bounded tenant's row, so that two cannot take the last place."""
    # Looked up first without a lock: most tenants have no bound, and adding something to them waits for nobody.
    own = Tenant.objects.filter(id=tenant.id).values_list(f"max_{quota.value}", flat=True).first()
    if bound(own, quota) is None:
        return
    # Counted under the lock, and read again: the limit may have been changed in between.
    tenant = Tenant.objects.select_for_update().get(id=tenant.id)
    limit = limit_of(tenant, quota)
    if limit is not None and used(tenant, quota) + more > limit:
        raise refusal(quota, limit)


def refusal(quota: Quota, limit: int) -> QuotaReached:
    """What is said when nothing more fits, with whom to ask."""
    return QuotaReached(
        f"This community may have {limit} {_LABELS[quota]}, and there is no room for more. "
        "Its administrators can ask the operator of this server for a higher limit."
    )


def register(quota: Quota, counter: Counter) -> None:
    """Say how something is counted; called once, when the app that knows is ready."""
    _counters[quota] = counter


def _members(tenant: Tenant) -> int:
    with scope(tenant=tenant):
        return Membership.objects.filter(tenant=tenant).count()


def signatures_today(tenant: Tenant) -> int:
    """What the workers have written of today, at most about a second ago."""
    with scope(tenant=tenant):
        rows = TenantDay.objects.filter(tenant=tenant, day=timezone.now().date())
        return rows.values_list("signatures", flat=True).first() or 0


_counters: dict[Quota, Counter] = {Quota.MEMBERS: _members, Quota.SIGNATURES: signatures_today}
