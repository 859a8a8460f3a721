"""How often, how long and after what pause a call to the NetHSM is tried, and what each failure is called here.

Every call made here may be repeated: keys and users are made under ids of our own (409 says that an earlier try
arrived), a second deletion finds nothing, and a second signature of the same event id reveals nothing.
"""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

import httpx

from keycast.base.errors import KeycastError
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.errors import HsmForbidden, HsmKeyUnusable, HsmMisconfigured, HsmThrottled, HsmUnavailable

logger = logging.getLogger(__name__)

TRIES: Final = 3
#: Seconds for one try, and for all of them with their pauses: a request that waits for this ends within 5 s.
TRY_SECONDS: Final = 1.3
TOTAL_SECONDS: Final = 4.0
_SHORTEST_TRY: Final = 0.1
_PAUSE: Final = 0.05
#: NetHSM throttles by the second (a user who gave wrong credentials), and says nothing of how long.
_THROTTLED_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 2.0

_deadline: ContextVar[float | None] = ContextVar("nethsm_deadline", default=None)


class HsmLocked(HsmUnavailable):
    """The device is locked, not provisioned, or has failed: only its operators can change that."""

    code = "hsm-locked"
    public_message = "The HSM is locked or not ready. The operators have to unlock it."


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Whatever is called in here ends in this time altogether."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


class Tries:
    """The tries of one call. ``before`` each try, then ``judge`` or ``failed``; all may raise keys.hsm.errors."""

    def __init__(self, breaker: Breaker, what: str, answers: frozenset[int]) -> None:
        self._breaker, self._what, self._answers = breaker, what, answers
        own, outer = time.monotonic() + TOTAL_SECONDS, _deadline.get()
        self._deadline = own if outer is None else min(own, outer)
        self._tries = 0
        self._allotted = TRY_SECONDS
        self._last: KeycastError | None = None

    @property
    def left(self) -> float:
        """Seconds until the call has to have ended."""
        return self._deadline - time.monotonic()

    def before(self) -> float:
        """Seconds that the next try may take."""
        left = self.left
        if left < _SHORTEST_TRY:  # most of it went by in the queue for a connection
            raise self._last or HsmThrottled()
        if not self._breaker.admits():
            raise self._last or HsmUnavailable()
        self._tries += 1
        self._allotted = min(TRY_SECONDS, left)
        return self._allotted

    def judge(self, status: int, headers: httpx.Headers) -> float | None:
        """None for an answer that the caller understands, else seconds to pause before the next try."""
        if status >= 500:
            return self._again(HsmUnavailable(), f"status {status}", _PAUSE)
        self._breaker.succeeded()  # it answered
        if status in self._answers:
            return None
        if status == 429:
            return self._again(HsmThrottled(), "throttled", _retry_after(headers), is_ailing=False)
        logger.error("NetHSM refused a call", extra={"call": self._what, "status": status})
        raise _refusal(status)

    def failed(self, error: Exception) -> float:
        """Seconds to pause after a try that got no answer, or one that cannot be read."""
        if isinstance(error, httpx.PoolTimeout):  # says nothing of the device
            raise HsmThrottled from None
        if self._allotted < TRY_SECONDS and isinstance(error, (TimeoutError, httpx.TimeoutException)):
            raise self._last or HsmThrottled() from None  # cut short by a wait of ours: says nothing of the device
        if _is_about_certificate(error):
            self._breaker.failed()
            logger.error("NetHSM's certificate is not the one that is expected", extra={"call": self._what})
            raise HsmMisconfigured("The HSM's certificate is not the one that is set up on this server.") from None
        return self._again(HsmUnavailable(), type(error).__name__, _PAUSE)

    def _again(self, error: KeycastError, reason: str, pause: float, *, is_ailing: bool = True) -> float:
        if is_ailing:
            self._breaker.failed()
        self._last = error
        logger.warning("NetHSM gave no answer", extra={"call": self._what, "reason": reason, "try": self._tries})
        pause *= 2.0 ** (self._tries - 1) * random.uniform(1.0, 1.5) if is_ailing else 1.0  # noqa: S311
        if self._tries >= TRIES or pause > _LONGEST_PAUSE or pause + _SHORTEST_TRY > self.left:
            raise error from None
        return pause


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
