"""What each failure of the NetHSM means (keys.hsm.calling), and what it is called here.

Every call made here may be repeated: keys and users are made under ids of our own (409 says that an earlier try
arrived), a second deletion finds nothing, and a second signature of the same event id reveals nothing.
"""

from __future__ import annotations

import ssl
from typing import Final

import httpx

from keycast.base.errors import KeycastError
from keys.hsm.calling import Course, Health, Pause, Verdict
from keys.hsm.circuit_breaker import Breaker
from keys.hsm_errors import HsmForbidden, HsmKeyUnusable, HsmMisconfigured, HsmThrottled, HsmUnavailable

_PAUSE: Final = Pause(0.05, (1.0, 1.5))
#: NetHSM throttles by the second (a user who gave wrong credentials), and says nothing of how long.
_THROTTLED_PAUSE: Final = 1.0


class HsmLocked(HsmUnavailable):
    """The device is locked, not provisioned, or has failed: only its operators can change that."""

    code = "hsm-locked"
    public_message = "The HSM is locked or not ready. The operators have to unlock it."


class Refused(Exception):
    """A status that the caller did not ask for."""

    def __init__(self, status: int, headers: httpx.Headers) -> None:
        super().__init__(status)
        self.status, self.headers = status, headers


class NetHsmJudge:
    """A Judge (keys.hsm.calling)."""

    service = "NetHSM"
    errors: tuple[type[Exception], ...] = (httpx.HTTPError, TimeoutError, Refused)
    too_late = HsmThrottled  # most of the time went by in the queue for a connection

    def __call__(self, error: Exception, *, is_cut_short: bool, last: Exception | None) -> Verdict:
        if isinstance(error, Refused):
            return _of_status(error)
        if isinstance(error, httpx.PoolTimeout):  # says nothing of the device
            return Verdict(HsmThrottled(), Health.UNKNOWN)
        if is_cut_short and isinstance(error, (TimeoutError, httpx.TimeoutException)):
            return Verdict(last or HsmThrottled(), Health.UNKNOWN)  # by a wait of ours: says nothing of the device
        if _is_about_certificate(error):
            problem = HsmMisconfigured("The HSM's certificate is not the one that is set up on this server.")
            return Verdict(problem, Health.AILING, "another certificate")
        return Verdict(HsmUnavailable(), Health.AILING, type(error).__name__, _PAUSE)


def course(breaker: Breaker, what: str) -> Course:
    """The tries of one call to the NetHSM."""
    return Course(breaker, what, NetHsmJudge())


def _of_status(error: Refused) -> Verdict:
    status = error.status
    if status >= 500:
        return Verdict(HsmUnavailable(), Health.AILING, f"status {status}", _PAUSE)
    if status == 429:
        return Verdict(HsmThrottled(), Health.ANSWERED, "throttled", Pause(_retry_after(error.headers), doubles=False))
    return Verdict(_refusal(status), Health.ANSWERED, f"status {status}")


def _refusal(status: int) -> KeycastError:
    if status == 412:
        return HsmLocked()
    if status in {401, 403}:
        return HsmForbidden()
    if status == 404:
        return HsmKeyUnusable("This key does not exist in the HSM any more.")
    return HsmMisconfigured("The HSM does not accept what is asked of it; NetHSM 3.0 or later is needed.")


def _retry_after(headers: httpx.Headers) -> float:
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else _THROTTLED_PAUSE


def _is_about_certificate(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
