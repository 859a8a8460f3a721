"""The last look before serving: what is unsafe in production does not start."""

from __future__ import annotations

import logging
from typing import Final

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

logger = logging.getLogger(__name__)

FATAL: Final = "keycast_fatal"
"""The tag of the checks (keycast.checks) that end a start in production."""


class UnsafeToStart(ImproperlyConfigured):
    """Production settings that would endanger keys; the message lists each reason."""


def reasons() -> list[str]:
    """Why this installation must not start, one line each; empty when it may."""
    found = checks.run_checks(tags=[FATAL], databases=["default"])
    return [f"{message.id}: {message.msg} {message.hint or ''}".rstrip() for message in found if message.is_serious()]


def refuse_unsafe_start() -> None:
    """Raise UnsafeToStart if a fatal check (keycast.checks) fails; does nothing outside production.

    Called by everything that serves: the ASGI application, ``serve``, ``bunker`` and ``qcluster``.
    """
    if settings.IS_PRODUCTION and (found := reasons()):
        raise UnsafeToStart("\n".join(["Keycast refuses to start:", *(f"  {reason}" for reason in found)]))
    if settings.IS_PRODUCTION and settings.ACCEPTED_RISKS:
        logger.warning("risks_accepted", extra={"risks": ", ".join(settings.ACCEPTED_RISKS)})
