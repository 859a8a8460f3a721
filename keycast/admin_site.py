"""The staff admin: Django's own pages on our own site, reached only with a second factor."""

from __future__ import annotations

from django.contrib.admin import AdminSite
from django.http import HttpRequest


class KeycastAdminSite(AdminSite):
    site_header = "Keycast"
    site_title = "Keycast admin"
    index_title = "Overview"

    def has_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_staff)
