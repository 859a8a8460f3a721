"""The last look before serving: what is unsafe in production does not start."""

from __future__ import annotations

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from keycast.checks import FATAL


class UnsafeToStart(ImproperlyConfigured):
    """Production settings that would endanger keys; the message lists each reason."""


def refuse_unsafe_start() -> None:
    """Raise UnsafeToStart if a fatal check (keycast.checks) fails; does nothing outside production.

    Called by everything that serves: the ASGI application, ``serve``, ``bunker`` and ``qcluster``.
    """
    if not settings.IS_PRODUCTION:
        return
    found = [message for message in checks.run_checks(tags=[FATAL], databases=["default"]) if message.is_serious()]
    if found:
        reasons = "\n".join(f"  {message.id}: {message.msg} {message.hint or ''}".rstrip() for message in found)
        raise UnsafeToStart(f"Keycast refuses to start:\n{reasons}")
