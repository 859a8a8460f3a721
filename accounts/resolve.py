"""Which tenant a host name leads to: for requests, and for websockets of the built-in relay."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django_scopes import scopes_disabled

from accounts.hosts import BadHost, host_name
from accounts.models import Tenant, TenantDomain


def tenant_for_host(host: str) -> Tenant | None:
    """The tenant served at ``host`` (a Host header's value); None for any other, and while it is suspended.

    One query, no write. Never raises for what a client sends.
    """
    try:
        tenant = tenant_of_domain(host_name(host))
    except BadHost:
        return None
    return None if tenant is None or tenant.state == Tenant.State.SUSPENDED else tenant


def tenant_of_domain(name: str) -> Tenant | None:
    """The tenant that a verified domain belongs to, by exact name, whatever the tenant's state."""
    # The host name says which tenant a request is for.
    with scopes_disabled():
        domain = TenantDomain.objects.select_related("tenant").filter(host=name, verified_at__isnull=False).first()
    return domain.tenant if domain else None


def host_of_headers(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The Host header's value among those of an ASGI scope; empty unless there is exactly one."""
    values = [value for name, value in headers if name.lower() == b"host"]
    return values[0].decode("latin-1") if len(values) == 1 else ""


def asked_host(host: str, forwarded: str) -> str:
    """The host that was asked for, of the headers Host and X-Forwarded-Host. Raises BadHost for what are no names.

    X-Forwarded-Host counts only behind a proxy of ours, which must set or drop it. It never leads to a platform host:
    those may be guarded by name in front of us.
    """
    if not (settings.TRUSTED_PROXY_COUNT and forwarded):
        return host
    nearest = forwarded.rpartition(",")[2].strip()
    return host if is_platform_host(host_name(nearest)) or is_platform_host(host_name(host)) else nearest


def is_platform_host(name: str) -> bool:
    """True for the hosts on which only the staff admin lives (KEYCAST_PLATFORM_HOSTS)."""
    return name in settings.PLATFORM_HOSTS
