"""Where addresses lead. /relay (websocket) is in routing.py; /healthz, /readyz and /metrics are in probes.py."""

from __future__ import annotations

from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

PORTAL = ("accounts.portal.urls", "keys.portal.urls", "bunker.portal.urls")


def present(module: str) -> bool:
    parent = module.rpartition(".")[0]
    return find_spec(parent) is not None and find_spec(module) is not None


urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("account/", include("allauth.urls")),
    *(path("", include(module)) for module in PORTAL if present(module) and present(module.replace("urls", "views"))),
]
