"""What each failure of a token means for the next try (keys.hsm.calling)."""

from __future__ import annotations

from typing import Final

from keys.hsm.calling import Course, Health, Pause, Verdict
from keys.hsm.circuit_breaker import Breaker
from keys.hsm.pkcs11.failures import FailureKind, TokenFailure
from keys.hsm_errors import HsmAnswerRefused, HsmThrottled, HsmUnavailable

_PAUSE: Final = Pause(0.05, (1.0, 1.5))


class UnverifiableSignature(HsmAnswerRefused):
    """A signature that does not fit this key's stored public key: no sign of an ailing token."""


class Pkcs11Judge:
    """A Judge (keys.hsm.calling)."""

    service = "PKCS#11"
    errors: tuple[type[Exception], ...] = (TokenFailure, TimeoutError, HsmAnswerRefused, HsmUnavailable)
    too_late = HsmUnavailable

    def __call__(self, error: Exception, *, is_cut_short: bool, last: Exception | None) -> Verdict:
        if isinstance(error, TokenFailure):
            if error.kind is FailureKind.AWAY:
                return Verdict(error.error, Health.AILING, error.reason, _PAUSE)
            return Verdict(error.error, Health.ANSWERED, error.reason)
        if isinstance(error, UnverifiableSignature):
            return Verdict(error, Health.UNKNOWN, "signature of another key or digest", _PAUSE)
        if isinstance(error, HsmThrottled):  # our own queue is full: says nothing of the token
            return Verdict(error, Health.UNKNOWN)
        if isinstance(error, TimeoutError) and is_cut_short:
            return Verdict(last or HsmUnavailable(), Health.UNKNOWN)
        # A call that hangs holds up all that come after it: no further try finds the thread free.
        return Verdict(HsmUnavailable(), Health.AILING, type(error).__name__, None if last else _PAUSE)


def course(breaker: Breaker, what: str) -> Course:
    """The tries of one call to a token."""
    return Course(breaker, what, Pkcs11Judge())
