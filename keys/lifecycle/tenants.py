"""What this app knows of tenants: how many keys they have, and which key modes they can offer here."""

from __future__ import annotations

from collections.abc import Collection

from django_scopes import scope

from accounts import quotas
from accounts.errors import InvalidValue
from accounts.models import KeyMode, Membership, Tenant
from accounts.services import register_check
from keys.lifecycle.modes import ModeOffer, offers_of_mode
from keys.models import KeyState, PersonalKey

_GONE = (KeyState.DESTROYED, KeyState.FAILED)


def key_count(tenant: Tenant) -> int:
    """Keys of a tenant, tombstones and those that could not be made left out."""
    with scope(tenant=tenant):
        return PersonalKey.objects.filter(tenant=tenant).exclude(state__in=_GONE).count()


def deployment_offers() -> list[ModeOffer]:
    """Every way of keeping keys that this deployment knows, also those that cannot be had now, with their problem."""
    return [offer for mode in KeyMode.values for offer in offers_of_mode(mode)]


def available_modes() -> frozenset[str]:
    """The key modes in which a key can be made on this deployment."""
    return frozenset(offer.key_mode for offer in deployment_offers() if offer.is_available)


def check_modes(tenant: Tenant, changed: Collection[str], by: Membership | None) -> None:
    """A tenant's own people offer only what this deployment has; operators may prepare more. Raises Invalid."""
    if by is None or "key_modes" not in changed:
        return
    before = Tenant.objects.values_list("key_modes", flat=True).get(id=tenant.id)
    if set(tenant.key_modes) - available_modes() - set(before):
        raise InvalidValue("This server cannot keep keys in that way at present. Choose among those it offers.")


def connect() -> None:
    """Start answering; called once, when the app is ready."""
    quotas.register(quotas.Quota.KEYS, key_count)
    register_check(check_modes)
