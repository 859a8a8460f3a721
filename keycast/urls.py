"""Where addresses lead. /relay's websocket is in routing.py; /healthz, /readyz and /metrics are in probes.py."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from accounts.portal.branding import stylesheet
from bunker.relays.nip11 import relay_information

urlpatterns: list[URLPattern | URLResolver] = [
    path("admin/", admin.site.urls),
    path("account/", include("accounts.urls")),
    path("relay", relay_information, name="relay"),
    re_path(r"^relay/+$", relay_information, name="relay_with_slash"),
    path("tenant.css", stylesheet, name="tenant_stylesheet"),
    path("", include("accounts.portal.urls")),
    path("", include("keys.portal.urls")),
    path("", include("bunker.portal.urls")),
]
