"""The project itself as an app without models: commands, checks, and the admin's site."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class KeycastConfig(AppConfig):
    name = "keycast"
    label = "keycast"

    def ready(self) -> None:
        import keycast.audit_pages.looks
        import keycast.backup.watch
        import keycast.checks
        import keycast.officers  # noqa: F401  (they register what they look at)


class KeycastAdminConfig(AdminConfig):
    """Django's admin with our own site: second factor required, no permission without staff."""

    default_site = "keycast.admin_site.KeycastAdminSite"
