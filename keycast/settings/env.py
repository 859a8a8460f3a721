"""Typed readers of the environment. Any value comes from NAME or from the file NAME_FILE; both at once is an error."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured


class FileOrValue(MutableMapping[str, str]):
    """The process's environment, in which NAME may be given as the path NAME_FILE instead.

    django-environ's own mapping keeps the newline at the end of the file, which then is part of a database's name or a
    password, lets both be set, and raises OSError. Here what surrounds the value is stripped; both set, a file that
    cannot be read and an empty one raise ImproperlyConfigured, which never repeats any of the content.
    """

    def __getitem__(self, name: str) -> str:
        path = os.environ.get(f"{name}_FILE")
        if not path:
            return os.environ[name]
        if os.environ.get(name):
            raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
        try:
            value = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ImproperlyConfigured(f"{name}_FILE cannot be read: {type(error).__name__}.") from None
        if not value:
            raise ImproperlyConfigured(f"{name}_FILE is empty.")
        return value

    def __setitem__(self, name: str, value: str) -> None:
        os.environ[name] = value

    def __delitem__(self, name: str) -> None:
        del os.environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter(os.environ)

    def __len__(self) -> int:
        return len(os.environ)


class Environment(environ.Env):  # type: ignore[misc]  # django-environ has no types
    """django-environ on top of FileOrValue."""

    ENVIRON = FileOrValue()


env = Environment()


def secret(name: str, default: str | None = None) -> str:
    """A secret from ``NAME`` or ``NAME_FILE``, else ``default``; ImproperlyConfigured if there is none either."""
    value = env.ENVIRON.get(name, "")
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} (or {name}_FILE) must be set.")
    return default
