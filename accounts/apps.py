"""Tenants, users, memberships and sign-in."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.management import call_command
from django.db.models.signals import post_migrate


def create_cache_table(using: str, **_: Any) -> None:
    """Rate limits of sign-in live in the shared cache; where that is a table, it comes with the migrations."""
    call_command("createcachetable", database=using, verbosity=0)


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Tenants and people"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from accounts.approvals import ours
        from accounts.panic import kinds, looks
        from accounts.signin import authenticators, history, takeover
        from keycast import findings

        ours.connect()
        kinds.connect()
        findings.register(looks.locks)
        authenticators.connect()
        history.connect()
        takeover.connect()
        post_migrate.connect(create_cache_table, sender=self, dispatch_uid="accounts.cache_table")
