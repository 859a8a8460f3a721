"""Typed readers of the environment. A secret comes from NAME or from the file NAME_FILE; both at once is an error."""

from __future__ import annotations

import os
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.FileAwareEnv()


def secret(name: str, default: str | None = None) -> str:
    """A secret from ``NAME`` or ``NAME_FILE``; an unreadable or empty file fails loudly, without its content."""
    if os.environ.get(name) and os.environ.get(f"{name}_FILE"):
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
    path = os.environ.get(f"{name}_FILE")
    if path:
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(f"{name}_FILE cannot be read: {type(error).__name__}.") from None
        if not value:
            raise ImproperlyConfigured(f"{name}_FILE is empty.")
        return value
    value = os.environ.get(name, "")
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} (or {name}_FILE) must be set.")
    return default
