"""Key-encryption key providers by name. Made lazily, once a process; a forked child makes its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from django.conf import settings

from keys.errors import ProviderNotConfigured
from keys.kms.local import LocalKekProvider
from keys.kms.protocol import KekProvider

_factories: dict[str, Callable[[], KekProvider]] = {"local": LocalKekProvider.from_settings}
_providers: dict[str, KekProvider] = {}
_lock = threading.Lock()


def register(name: str, factory: Callable[[], KekProvider]) -> None:
    """Make ``name`` known; the factory runs on first use and raises ``KekUnavailable`` when it cannot serve."""
    with _lock:
        _factories[name] = factory
        _providers.pop(name, None)


def provider(name: str) -> KekProvider:
    """The provider of that name; ``ProviderNotConfigured`` when this deployment has none."""
    ready = _providers.get(name)
    if ready is not None:
        return ready
    with _lock:
        if name not in _factories:
            raise ProviderNotConfigured(f"The key-encryption key provider “{name}” is not set up here.")
        return _providers.setdefault(name, _factories[name]())


def default_provider() -> KekProvider:
    """The provider that new secrets are sealed with (``KEYCAST_KEK_PROVIDER``)."""
    return provider(settings.KEK_PROVIDER)


def reset() -> None:
    """Forget every made provider, so that the next use reads its configuration again."""
    with _lock:
        _providers.clear()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 -- a lock held by another thread at the fork would stay locked for ever
    _lock = threading.Lock()
    _providers.clear()


os.register_at_fork(after_in_child=_after_fork)
