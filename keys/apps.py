"""Custody: personal keys, envelope encryption, signers."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "keys"
    verbose_name = "Custody"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keycast.base import findings
        from keys.hsm import registration
        from keys.hsm.inventory import health as looks
        from keys.lifecycle import approval_kinds, tenants
        from keys.rotation import health as rotation_looks
        from keys.rotation import kinds
        from keys.split import maintenance

        approval_kinds.connect()
        registration.register()
        maintenance.connect()
        kinds.register()
        tenants.connect()
        findings.register(looks.inventories)
        findings.register(rotation_looks.rotations)
