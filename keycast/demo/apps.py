"""The demo's commands, and those that run an emulator of an HSM."""

from __future__ import annotations

from django.apps import AppConfig


class DemoConfig(AppConfig):
    name = "keycast.demo"
    label = "demo"
