"""Absolute addresses on a tenant's own host, for e-mails and for what is shown to other programs."""

from __future__ import annotations

from django.conf import settings

from accounts.models import Tenant
from accounts.selectors import primary_host

_DEFAULT_PORTS = {"http": 80, "https": 443}


def origin(tenant: Tenant) -> str:
    """``https://host[:port]`` of the tenant's primary host, from settings, never from a request."""
    return public_origin(primary_host(tenant))


def public_origin(host: str) -> str:
    """``https://host[:port]`` with the scheme and port that the outside world uses."""
    scheme, port = settings.PUBLIC_SCHEME, settings.PUBLIC_PORT
    return f"{scheme}://{host}" if port == _DEFAULT_PORTS[scheme] else f"{scheme}://{host}:{port}"


def platform_origin() -> str:
    """``https://host[:port]`` of the staff admin, for mails to staff; empty where no host of its own is configured."""
    return public_origin(settings.PLATFORM_HOSTS[0]) if settings.PLATFORM_HOSTS else ""
