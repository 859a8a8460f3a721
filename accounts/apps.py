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
        from accounts import account_seals, seal_checks
        from accounts.mail import health as mail_health
        from accounts.panic import approval_kinds, health
        from accounts.signin import authenticators, history, integrity, takeover
        from accounts.staff import health as staff_health
        from accounts.staff.approvals import account_kinds
        from keycast.base import findings

        account_kinds.connect()
        approval_kinds.connect()
        findings.register(health.locks)
        findings.register(staff_health.officers)
        findings.register(mail_health.mails)
        findings.register(seal_checks.seals)
        authenticators.connect()
        account_seals.connect()
        integrity.connect()
        history.connect()
        takeover.connect()
        post_migrate.connect(create_cache_table, sender=self, dispatch_uid="accounts.cache_table")
