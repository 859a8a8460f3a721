"""The NIP-46 remote signer: connections, policies, relays, the worker."""

from django.apps import AppConfig


class BunkerConfig(AppConfig):
    name = "bunker"
    verbose_name = "Remote signing"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from bunker import signals
        from bunker.services import tenants

        signals.connect()
        tenants.connect()
        _add_panel()


def _add_panel() -> None:
    from bunker.portal.panel import AppsPanel
    from keys.portal import panels

    panels.register(AppsPanel())
