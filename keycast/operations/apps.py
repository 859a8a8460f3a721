from __future__ import annotations

from django.apps import AppConfig


class OperationsConfig(AppConfig):
    name = "keycast.operations"
    label = "operations"
    verbose_name = "Operations"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keycast import health
        from keycast.operations import looks, recording

        recording.connect()
        for look in looks.LOOKS:
            health.register(look)
