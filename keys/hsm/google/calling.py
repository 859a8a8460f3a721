"""What each failure of Cloud KMS means (keys.hsm.calling), and what it is called here."""

from __future__ import annotations

from typing import Final

import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError

from keycast.base.errors import KeycastError
from keys.hsm.calling import Course, Health, Pause, Verdict
from keys.hsm.circuit_breaker import Breaker
from keys.hsm_errors import (
    HsmAnswerRefused,
    HsmForbidden,
    HsmKeyUnusable,
    HsmMisconfigured,
    HsmThrottled,
    HsmUnavailable,
)

_JITTER: Final = (0.5, 1.5)
_PAUSE: Final = Pause(0.05, _JITTER)
_THROTTLED_PAUSE: Final = Pause(0.3, _JITTER)

Code = grpc.StatusCode
TRANSIENT: Final = frozenset(
    {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED, Code.ABORTED, Code.INTERNAL}
)
FORBIDDEN: Final = frozenset({Code.PERMISSION_DENIED, Code.UNAUTHENTICATED})
UNUSABLE: Final = frozenset({Code.FAILED_PRECONDITION, Code.NOT_FOUND})

#: What a client of Google's raises that means "no answer", or carries one.
CallError = (GoogleAPICallError, GoogleAuthError, grpc.RpcError, TimeoutError)


class UnverifiableHsmAnswer(HsmAnswerRefused):
    """An answer that fits its checksums but not this key's stored public key: no sign of an ailing service."""


def code_of(error: BaseException) -> grpc.StatusCode:
    """The gRPC status that an error of Google's client stands for."""
    if isinstance(error, TimeoutError):
        return Code.DEADLINE_EXCEEDED
    if isinstance(error, GoogleAPICallError):
        return error.grpc_status_code or Code.UNKNOWN
    if isinstance(error, grpc.RpcError):
        code = getattr(error, "code", None)
        return code() if callable(code) else Code.UNKNOWN
    return Code.UNAUTHENTICATED


def as_keycast_error(error: BaseException) -> KeycastError:
    """The error of ours for one of Google's client. Its own text is for the log alone: it names the project."""
    code = code_of(error)
    if code is Code.RESOURCE_EXHAUSTED:
        return HsmThrottled()
    if code in TRANSIENT:
        return HsmUnavailable()
    if code in FORBIDDEN:
        return HsmForbidden()
    if code in UNUSABLE:
        return HsmKeyUnusable()
    return HsmMisconfigured() if code is Code.INVALID_ARGUMENT else HsmUnavailable()


class HsmRefusedOnce(HsmUnavailable):
    """INVALID_ARGUMENT, once: Cloud KMS says that of a ciphertext that is broken, and of one that a fault broke on its
    way, or whose checksum it broke. What is damaged is refused again."""


class GoogleJudge:
    """A Judge (keys.hsm.calling). ``answers`` are status codes that the caller understands: raised as they came."""

    service = "Cloud KMS"
    errors: tuple[type[Exception], ...] = (*CallError, HsmAnswerRefused)
    too_late = HsmUnavailable

    def __init__(self, answers: frozenset[grpc.StatusCode]) -> None:
        self._answers = answers

    def __call__(self, error: Exception, *, is_cut_short: bool, last: Exception | None) -> Verdict:
        if isinstance(error, HsmAnswerRefused):
            health = Health.UNKNOWN if isinstance(error, UnverifiableHsmAnswer) else Health.AILING
            return Verdict(error, health, str(error.__cause__), _PAUSE)
        code = code_of(error)
        if code in TRANSIENT:
            pause = _THROTTLED_PAUSE if code is Code.RESOURCE_EXHAUSTED else _PAUSE
            return Verdict(as_keycast_error(error), Health.AILING, code.name, pause)
        # One such answer must not count as damage to what is stored: it is asked again first.
        if code is Code.INVALID_ARGUMENT and not isinstance(last, HsmRefusedOnce):
            return Verdict(HsmRefusedOnce(), Health.ANSWERED, code.name, _PAUSE)
        if code in self._answers:
            return Verdict(error, Health.ANSWERED)
        return Verdict(as_keycast_error(error), Health.ANSWERED, code.name)


def course(breaker: Breaker, what: str, answers: frozenset[grpc.StatusCode] = frozenset()) -> Course:
    """The tries of one call to Cloud KMS."""
    return Course(breaker, what, GoogleJudge(answers))
