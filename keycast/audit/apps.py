"""The append-only, hash-chained audit log."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "keycast.audit"
    verbose_name = "Audit log"
    label = "audit"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keycast.audit import health
        from keycast.base import findings

        for look in health.LOOKS:
            findings.register(look)
