"""What this app knows of tenants: policies and relays they offer, and how many apps and relays they have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from django.conf import settings
from django_scopes import scope

from accounts import quotas
from accounts.errors import InvalidValue
from accounts.models import Membership, Tenant, TenantDomain
from accounts.quotas import Quota, limit_of, refusal
from accounts.services import register_check
from bunker.models import Connection
from bunker.policy import TEMPLATES, PolicyTemplate
from bunker.relay_addresses import OutboundPolicy, RelayRefused, check_url, is_built_in
from keycast.nostr.uris import UriError, normalize_relay_url

LIVE_STATES = ("pending", "active", "locked")
MAX_OWN_RELAYS = 8
"""With the built-in relay these are about as many as a bunker URL should name."""
FALLBACK_POLICY = "social"


def policies_of(tenant: Tenant) -> list[PolicyTemplate]:
    """The ready-made policies that the tenant's people may grant; all of them where it names none."""
    return [template for slug, template in TEMPLATES.items() if not tenant.policies or slug in tenant.policies]


def default_policy_of(tenant: Tenant) -> str:
    """The policy offered first for a new app."""
    offered = [template.slug for template in policies_of(tenant)]
    for slug in (tenant.default_policy, FALLBACK_POLICY):
        if slug in offered:
            return slug
    return offered[0]


def app_count(tenant: Tenant) -> int:
    """Connections that are live, bunker URLs that nobody has used yet among them."""
    with scope(tenant=tenant):
        return Connection.objects.filter(tenant=tenant, state__in=LIVE_STATES).count()


def own_relays(tenant: Tenant) -> set[str]:
    """Outbound relays that only this tenant's settings and apps name: not the built-in one, nor the deployment's."""
    with scope(tenant=tenant):
        live = Connection.objects.filter(tenant=tenant, state__in=LIVE_STATES).order_by()
        named = {url for urls in live.values_list("relays", flat=True).distinct() for url in urls}
    return not_shared(tenant, named | set(tenant.relays))


def not_shared(tenant: Tenant, urls: Iterable[str]) -> set[str]:
    """Those of ``urls`` that count as the tenant's own."""
    with scope(tenant=tenant):
        hosts = set(TenantDomain.objects.filter(tenant=tenant).values_list("host", flat=True))
    return {url for url in urls if not (is_built_in(url, hosts) or url in settings.OUTBOUND_RELAYS)}


def require_relay_quota(tenant: Tenant, relays: Iterable[str]) -> None:
    """Raise QuotaReached if these relays make more different ones than the tenant may have."""
    new = not_shared(tenant, relays)
    if not new:
        return
    tenant = Tenant.objects.select_for_update().get(id=tenant.id)
    limit = limit_of(tenant, Quota.RELAYS)
    if limit is None:
        return
    known = own_relays(tenant)
    if not new <= known and len(known | new) > limit:
        raise refusal(Quota.RELAYS, limit)


def relays_in_quota(tenant: Tenant, relays: Sequence[str]) -> list[str]:
    """The first of these relays that the tenant has room for, and those that cost no room. QuotaReached if none is."""
    new = not_shared(tenant, relays)
    if not new:
        return list(relays)
    tenant = Tenant.objects.select_for_update().get(id=tenant.id)
    limit = limit_of(tenant, Quota.RELAYS)
    if limit is None:
        return list(relays)
    kept = first_relays(relays, own_relays(tenant), set(relays) - new, limit)
    if not kept:
        raise refusal(Quota.RELAYS, limit)
    return kept


def first_relays(relays: Iterable[str], known: Collection[str], free: Collection[str], most: int) -> list[str]:
    """Of ``relays`` those that are ``known`` or ``free``, and of the others as many as leave at most ``most`` known."""
    counted = set(known)
    kept = []
    for url in relays:
        if url not in free and url not in counted:
            if len(counted) >= most:
                continue
            counted.add(url)
        kept.append(url)
    return kept


def checked_relays(urls: Iterable[str]) -> list[str]:
    """Relay URLs in their normal form, each once. Raises Invalid for one that could never be connected to."""
    policy = OutboundPolicy.from_settings()
    found = []
    for url in urls:
        try:
            found.append(check_url(normalize_relay_url(url), policy).url)
        except (UriError, RelayRefused):
            raise InvalidValue(
                f"{url[:80]!r} is not the address of a public relay, such as wss://relay.example.org."
            ) from None
    return list(dict.fromkeys(found))


def check_settings(tenant: Tenant, changed: Collection[str], by: Membership | None) -> None:
    """Judge a change of a tenant's policies and relays. Raises Invalid, QuotaReached."""
    if "policies" in changed or "default_policy" in changed:
        _check_policies(tenant)
    if "relays" in changed:
        if tenant.relays != checked_relays(tenant.relays):
            raise InvalidValue("A relay is written in its normal form, and once.")
        if len(tenant.relays) > MAX_OWN_RELAYS:
            raise InvalidValue(f"At most {MAX_OWN_RELAYS} relays of its own can be named for new apps.")
        if by is not None:
            require_relay_quota(tenant, tenant.relays)


def _check_policies(tenant: Tenant) -> None:
    if not set(tenant.policies) <= set(TEMPLATES):
        raise InvalidValue("There is no such policy.")
    offered = {template.slug for template in policies_of(tenant)}
    if tenant.default_policy and tenant.default_policy not in offered:
        raise InvalidValue("The policy that is offered first has to be among those offered.")


def connect() -> None:
    """Start answering; called once, when the app is ready."""
    quotas.register(Quota.APPS, app_count)
    quotas.register(Quota.RELAYS, lambda tenant: len(own_relays(tenant)))
    register_check(check_settings)
