"""The staff site: Django's admin classes on a site of our own."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ConsoleConfig(AppConfig):
    name = "keycast.console"
    label = "console"


class ConsoleAdminConfig(AdminConfig):
    """Django's admin with our own site: second factor required, no permission without staff."""

    default_site = "keycast.console.site.KeycastAdminSite"
