"""Key-encryption key providers by name. Made lazily, once a process; a forked child makes its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from django.conf import settings

from keys.errors import KekUnavailable, ProviderNotConfigured
from keys.signing.kms.local import LocalKekProvider
from keys.signing.kms.protocol import KekProvider

_factories: dict[str, Callable[[], KekProvider]] = {"local": LocalKekProvider.from_settings}
_providers: dict[str, KekProvider] = {}
_lock = threading.Lock()
_is_signer = False


def be_the_signer() -> None:
    """From now on this process keeps key-encryption keys, whatever the settings say; called by the signer alone."""
    global _is_signer  # noqa: PLW0603 -- what a process is does not change
    _is_signer = True


def is_elsewhere() -> bool:
    """Whether key-encryption keys are with a signer outside (``KEYCAST_SIGNER_SOCKET``), and so none is to be here."""
    return bool(settings.SIGNER_SOCKET) and not _is_signer


def register(name: str, factory: Callable[[], KekProvider]) -> None:
    """Make ``name`` known; the factory runs on first use and raises ``KekUnavailable`` when it cannot serve."""
    with _lock:
        _factories[name] = factory
        _providers.pop(name, None)


def provider(name: str) -> KekProvider:
    """The provider of that name; ``ProviderNotConfigured`` when this deployment has none.

    Raises ``KekUnavailable`` where the signer is a process of its own and this is another.
    """
    if is_elsewhere():
        raise KekUnavailable("Key-encryption keys are with the signer, not in this process.")
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
