"""Custody: personal keys, envelope encryption, signers."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "keys"
    verbose_name = "Custody"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keycast import health
        from keys import approvals, looks, tenants
        from keys.cosigning import upkeep
        from keys.hsm import setup
        from keys.rotation import kinds
        from keys.rotation import looks as rotation_looks

        approvals.connect()
        setup.register()
        upkeep.connect()
        kinds.register()
        tenants.connect()
        health.register(looks.inventories)
        health.register(rotation_looks.rotations)
