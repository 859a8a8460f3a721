"""Custody: personal keys, envelope encryption, signers."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "keys"
    verbose_name = "Custody"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from keycast.base import findings
        from keys import approval_kinds, owner_seals
        from keys.exporting import services as exporting
        from keys.hsm import registration
        from keys.hsm.inventory import health as looks
        from keys.lifecycle import damage, tenants
        from keys.rotation import health as rotation_looks
        from keys.rotation import kinds
        from keys.signing import runtime
        from keys.split import comparison, maintenance

        approval_kinds.connect()
        owner_seals.connect()
        exporting.connect()
        registration.register()
        runtime.report_damage_to(damage.report_damage)
        maintenance.connect()
        kinds.register()
        tenants.connect()
        findings.register(looks.inventories)
        findings.register(rotation_looks.rotations)
        findings.register(comparison.health)
