"""The NIP-46 remote signer: connections, policies, relays, the worker."""

from django.apps import AppConfig


class BunkerConfig(AppConfig):
    name = "bunker"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from bunker import signals

        signals.connect()
