from __future__ import annotations

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "keycast.operations"
    label = "operations"
    verbose_name = "Operations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keycast.base import findings
        from keycast.operations import job_packages, job_records
        from keycast.operations.health import processes

        job_packages.install()
        job_records.connect()
        for look in processes.HEALTH_CHECKS:
            findings.register(look)
