"""The code that an authenticator app would show now, for people who have none at hand."""

from __future__ import annotations

import time
from typing import Final

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value

PERIOD: Final = 30
"""Seconds that a code lasts (RFC 6238, section 5.2)."""


def current_code(secret: str, now: float | None = None) -> tuple[str, int]:
    """The code of this moment, and for how many more seconds it is the current one. ``secret``: base32."""
    moment = int(time.time() if now is None else now)
    return format_hotp_value(hotp_value(secret, moment // PERIOD)), PERIOD - moment % PERIOD
