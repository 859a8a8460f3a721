"""The project itself as an app without models: its commands and its checks."""

from __future__ import annotations

from django.apps import AppConfig


class KeycastConfig(AppConfig):
    name = "keycast"
    label = "keycast"

    def ready(self) -> None:
        import keycast.checks  # noqa: F401 -- registers what it checks
