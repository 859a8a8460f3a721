"""Which relays a connection is offered on."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings

from accounts.models import Tenant, TenantDomain
from bunker.relay_addresses import OutboundPolicy, RelayRefused, check_url, is_built_in


def built_in_relay_url(tenant: Tenant) -> str | None:
    """The tenant's own relay, on its primary verified host; None while it has no such host."""
    domain = (
        TenantDomain.objects.filter(tenant=tenant, verified_at__isnull=False).order_by("-is_primary", "host").first()
    )
    if domain is None:
        return None
    scheme = "wss" if settings.PUBLIC_SCHEME == "https" else "ws"
    usual = {"https": 443, "http": 80}[settings.PUBLIC_SCHEME]
    port = "" if usual == settings.PUBLIC_PORT else f":{settings.PUBLIC_PORT}"
    return f"{scheme}://{domain.host}{port}/relay"


def usable_relays(tenant: Tenant, urls: Iterable[str]) -> list[str]:
    """Those of ``urls`` (in normal form) that are our own relay or may be connected to, as far as a URL tells."""
    hosts = set(TenantDomain.objects.filter(tenant=tenant, verified_at__isnull=False).values_list("host", flat=True))
    policy = OutboundPolicy.from_settings()
    return [url for url in urls if is_built_in(url, hosts) or _may_connect(url, policy)]


def _may_connect(url: str, policy: OutboundPolicy) -> bool:
    try:
        check_url(url, policy)
    except RelayRefused:
        return False
    return True


def relays_for(tenant: Tenant) -> list[str]:
    """The built-in relay first, then the tenant's own outbound relays and the deployment's; at most ten, each once."""
    own = built_in_relay_url(tenant)
    urls = [*([own] if own else ()), *tenant.relays, *settings.OUTBOUND_RELAYS]
    return list(dict.fromkeys(urls))[:10]
