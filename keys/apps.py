"""Custody: personal keys, envelope encryption, signers."""

from django.apps import AppConfig


class KeysConfig(AppConfig):
    name = "keys"
    verbose_name = "Custody"
    default_auto_field = "django.db.models.BigAutoField"
