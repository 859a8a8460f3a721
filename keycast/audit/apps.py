"""The append-only, hash-chained audit log."""

from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "keycast.audit"
    verbose_name = "Audit log"
    label = "audit"
    default_auto_field = "django.db.models.BigAutoField"
